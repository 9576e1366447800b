"""A harness that runs one kernel at a time on guarded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.build import build_module
from cnnir.backends.tvm.kernel import Kernel
from cnnir.backends.tvm.x86.isa import ISAS, Isa
from cnnir.ir import Array

ALIGNMENT = 64
GUARD = 512  # bytes before and behind every buffer
CANARY = 0x5B


@cache
def cpu_features() -> frozenset[str]:
    """The flags of /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split(":")[1].split())


class Guarded:
    """An aligned array between two guards."""

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        nbytes = size * dtype.itemsize
        self._memory = np.full(2 * GUARD + nbytes + 2 * ALIGNMENT, CANARY, np.uint8)
        self._start = GUARD + -(self._memory.ctypes.data + GUARD) % ALIGNMENT
        self._end = self._start + nbytes
        self.array = self._memory[self._start : self._end].view(dtype)

    def check(self, name: str) -> None:
        before, behind = self._memory[: self._start], self._memory[self._end :]
        assert (before == CANARY).all(), f"the kernel wrote before '{name}'"
        assert (behind == CANARY).all(), f"the kernel wrote behind '{name}'"


class KernelRunner:
    """Compiles kernels (once a session) and runs them as the generated entry of a network would."""

    def __init__(self) -> None:
        self._entries: dict[tuple[Kernel, Isa], Any] = {}

    def build(self, kernels: Iterable[Kernel], isa: Isa) -> None:
        """Compiles those not yet compiled in one module: much faster than one by one."""
        missing = [k for k in dict.fromkeys(kernels) if (k, isa) not in self._entries]
        if not missing:
            return
        lines = ["@I.ir_module", "class Module:"]
        for i, kernel in enumerate(missing):
            arguments = kernel.arguments
            pointers = ", ".join(f"{a.name}.data" for a in arguments)
            buffers = ", ".join(f"{a.name}: T.Buffer(({a.size},), '{a.dtype.numpy}')" for a in arguments)
            lines += [
                kernel.render(f"k{i}"),
                " @T.prim_func(s_tir=True)",
                f" def run{i}({buffers}, threads: T.int32):",
                f"  T.func_attr({{'global_symbol': 'run{i}', 'tirx.noalias': True}})",
                "  for t in T.parallel(threads):",
                f"   Module.k{i}(t * {kernel.units} // threads, (t + 1) * {kernel.units} // threads, {pointers})",
            ]
        module = build_module("\n".join([*lines, ""]), isa.target)
        for i, kernel in enumerate(missing):
            self._entries[kernel, isa] = module[f"run{i}"]

    def __call__(self, kernel: Kernel, arrays: Mapping[str, Array], isa: Isa, threads: int = 1) -> dict[str, Array]:
        """Runs all units of `kernel` split over `threads`; returns the written buffers by argument name, flat.

        `arrays` holds the buffers that are read, in physical layout (any shape). Written buffers start as NaN
        (or as `arrays` gives them); everything lies on 64-byte boundaries between canaries, which are checked,
        as is that nothing changed in the buffers that are only read. Skips where the CPU lacks `isa`.
        """
        import tvm_ffi

        if missing := set(isa.features) - cpu_features():
            pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
        self.build([kernel], isa)
        given = {a.name for a in kernel.arguments if not a.written}
        assert given <= set(arrays), f"missing: {given - set(arrays)}"
        guarded: dict[str, Guarded] = {}
        for argument in kernel.arguments:
            g = guarded[argument.name] = Guarded(argument.size, argument.dtype.numpy)
            if argument.name in arrays:
                source = np.asarray(arrays[argument.name])
                assert source.size == argument.size, (
                    f"'{argument.name}': {argument.size} elements, got {source.shape}"
                )
                g.array[:] = source.reshape(-1)
            else:
                g.array[:] = math.nan
        tensors = [tvm_ffi.from_dlpack(guarded[a.name].array) for a in kernel.arguments]
        self._entries[kernel, isa](*tensors, threads)
        for argument in kernel.arguments:
            g = guarded[argument.name]
            g.check(argument.name)
            if not argument.written:
                same = np.array_equal(g.array, np.asarray(arrays[argument.name]).reshape(-1), equal_nan=True)
                assert same, f"the kernel wrote to its input '{argument.name}'"
        return {a.name: guarded[a.name].array for a in kernel.arguments if a.written}


@pytest.fixture(scope="session")
def run_kernel() -> KernelRunner:
    return KernelRunner()


@pytest.fixture(scope="session", params=ISAS, ids=lambda isa: isa.name)
def isa(request: pytest.FixtureRequest) -> Isa:
    """Every instruction set; skips those that this CPU lacks."""
    if missing := set(request.param.features) - cpu_features():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    return request.param
