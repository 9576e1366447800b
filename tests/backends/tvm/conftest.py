"""A harness that runs one kernel at a time on guarded memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.build import build_module
from cnnir.backends.tvm.kernel import ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import ISAS, Isa
from cnnir.ir import Array
from cnnir.ir.packing import to_physical
from cnnir.ops.activation import ActivationKind
from cnnir.ops.conv import CONV, ConvAttrs

# TVM's default is half the cores; two threads must really be two. Read when TVM starts its first thread.
os.environ.setdefault("TVM_NUM_THREADS", "2")

ALIGNMENT = 64
GUARD = 512  # bytes before and behind every buffer
CANARY = 0x5B
MOST_THREADS = 5


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
            if kernel.scratch:
                pointers += f", T.address_of(scratch[t * {kernel.scratch}])"
                buffers += f", scratch: T.Buffer(({MOST_THREADS * kernel.scratch},), 'float32')"
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
        if kernel.scratch:
            scratch = Guarded(MOST_THREADS * kernel.scratch, np.dtype(np.float32))
            scratch.array[:] = math.nan
            tensors.append(tvm_ffi.from_dlpack(scratch.array))
        self._entries[kernel, isa](*tensors, threads)
        if kernel.scratch:
            scratch.check("scratch")
            assert np.isnan(scratch.array[threads * kernel.scratch :]).all(), "a thread left its scratch memory"
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


U = 2.0**-24
"""Unit roundoff of float32."""

ACTIVATION_ULPS = 8
"""Largest error that `cnnir.backends.tvm.activation` promises for an exact argument."""


def convolution_bound(attrs: ConvAttrs, operands: Sequence[Array | None]) -> tuple[Array, Array]:
    """The float64 result of a convolution (x, weight, bias, residual), and how far float32 may be from it.

    A sum of n rounded products, bias and residual included, in any order: |error| <= g(n) * sum |terms| with
    g(n) = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), here with
    n = C/groups * KH * KW + 2. The activation carries that interval over, and adds its own rounding.
    """
    exact = [None if a is None else a.astype(np.float64) for a in operands]
    linear = replace(attrs, activation=None)
    (value,) = CONV.reference(linear, exact)
    (terms,) = CONV.reference(linear, [None if a is None else np.abs(a) for a in exact])
    assert exact[1] is not None
    n = math.prod(exact[1].shape[1:]) + 2
    error = n * U / (1 - n * U) * terms
    if attrs.activation is None:
        return value, error
    act = attrs.activation
    result = act(value)
    # The ends bound a monotone function; the others have slopes of at most 1.2 and stationary points.
    ends = np.maximum(np.abs(act(value + error) - result), np.abs(act(value - error) - result))
    flat = act.kind in (ActivationKind.GELU, ActivationKind.SILU, ActivationKind.HARD_SWISH)
    return result, np.maximum(ends, 1.2 * error * flat) + 2 * ACTIVATION_ULPS * U * np.abs(result)


@pytest.fixture(scope="session")
def bound() -> Callable[[ConvAttrs, Sequence[Array | None]], tuple[Array, Array]]:
    return convolution_bound


@pytest.fixture(scope="session")
def poisoned() -> Callable[[Array, ImageBuffer], Array]:
    """Lays an NCHW array out as a buffer says, NaN in the halo and 33 in padded channels: neither may matter."""

    def lay_out(array: Array, image: ImageBuffer) -> Array:
        physical = to_physical(array, image.type.layout)
        if image.block > 1:
            top, left, _, _ = image.halo
            inside = np.zeros(physical.shape, bool)
            inside[:, :, top : top + image.height, left : left + image.width] = True
            physical[~inside] = math.nan
            if padding := -image.channels % image.block:
                physical[:, -1, top : top + image.height, left : left + image.width, -padding:] = 33
        return physical

    return lay_out


@pytest.fixture(scope="session")
def run_split(run_kernel: KernelRunner) -> Callable[[Kernel, Mapping[str, Array], Isa], Array]:
    """Runs a kernel that writes `y` alone with its units in 1, 2 and 5 parts; asserts equal bits, returns `y`."""

    def run(kernel: Kernel, arrays: Mapping[str, Array], isa: Isa) -> Array:
        first, *others = (run_kernel(kernel, arrays, isa, threads)["y"] for threads in (1, 2, 5))
        for other in others:
            np.testing.assert_array_equal(first.view(np.uint32), other.view(np.uint32))
        return first

    return run
