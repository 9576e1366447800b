"""The generated module: every distinct kernel once, and the entry that calls them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.kernel import Kernel
from cnnir.backends.tvm.plan import ALIGNMENT, MemoryPlan
from cnnir.backends.tvm.steps import Step
from cnnir.ir import Graph, Value

ENTRY = "cnnir_main"


FENCE = "  T.evaluate(T.call_llvm_intrin('llvm.x86.sse2.mfence', dtype='void'))"
"""Before a call without a region. TVM tells LLVM that different pointers never alias, which holds inside a kernel
but not between kernels, whose buffers reuse the arena: inlined side by side, loads would move before stores."""

REGION_MICROSECONDS = 5.0
"""What a parallel region costs: a kernel that takes no longer on one core is called without one."""


def _microseconds(kernel: Kernel) -> float:
    """A rough time on one core: 50 GFLOP/s of arithmetic, 10 GB/s of memory."""
    nbytes = sum(argument.size * argument.dtype.itemsize for argument in kernel.arguments)
    return max(kernel.flops / 50e3, nbytes / 10e3)


@dataclass(frozen=True)
class GeneratedModule:
    """TVMScript of the whole network, and the constants that it reads, in one array."""

    source: str
    weights: NDArray[np.float32]
    kernels: dict[str, Kernel]
    calls: tuple[tuple[str, Step], ...]


class _Weights:
    """Packed constants, each aligned to a cache line, equal arrays stored once."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []
        self._offsets: dict[int, int] = {}
        self._keep: list[NDArray[np.float32]] = []
        self.size = 0

    def add(self, array: NDArray[np.float32]) -> int:
        if id(array) not in self._offsets:
            flat = np.ascontiguousarray(array, np.float32).reshape(-1)
            padding = -flat.size % ALIGNMENT
            self._offsets[id(array)] = self.size
            self._keep.append(array)
            self._parts += [flat, np.zeros(padding, np.float32)]
            self.size += flat.size + padding
        return self._offsets[id(array)]

    def concatenated(self) -> NDArray[np.float32]:
        # Sixteen zeros behind the last one, so that a vector load at the end stays inside.
        return np.concatenate([*self._parts, np.zeros(ALIGNMENT, np.float32)])


def generate(graph: Graph, steps: Sequence[Step], plan: MemoryPlan) -> GeneratedModule:
    """Renders kernels and entry. Equal kernels are one function; `cnnir_main` launches one region a step.

    Signature of the entry: inputs, weights (1-D), arena (1-D), outputs, all float32; threads (int32). The arena
    has `plan.size + threads * plan.scratch` elements.
    """
    names: dict[Kernel, str] = {}
    for step in steps:
        names.setdefault(step.kernel, f"k{len(names)}")
    weights = _Weights()
    external: dict[Value, str] = {value: f"x{i}" for i, value in enumerate(graph.inputs)}
    for i, value in enumerate(graph.outputs.values()):
        external.setdefault(plan.root(value), f"y{i}")

    shapes = {f"x{i}": v.type.shape for i, v in enumerate(graph.inputs)}
    shapes |= {f"y{i}": v.type.shape for i, v in enumerate(graph.outputs.values())}

    def pointer(operand: Value | NDArray[np.float32]) -> str:
        if not isinstance(operand, Value):
            return f"T.address_of(weights[{weights.add(operand)}])"
        root = plan.root(operand)
        if root in external:
            origin = ", ".join("0" * len(shapes[external[root]])) or "()"
            return f"T.address_of({external[root]}[{origin}])"
        return f"T.address_of(arena[{plan.offsets[root]}])"

    arena_size = max(plan.size, ALIGNMENT)
    calls = []
    for i, step in enumerate(steps):
        pointers = ", ".join(pointer(operand) for operand in step.operands)
        name, units = names[step.kernel], step.kernel.units
        parallel = _microseconds(step.kernel) >= REGION_MICROSECONDS
        if step.kernel.scratch:
            thread = f" + t{i} * {plan.scratch}" if parallel else ""
            pointers += f", T.address_of(arena[{arena_size}{thread}])"
        if not parallel:
            calls.append(FENCE)
            calls.append(f"  Module.{name}(0, {units}, {pointers})")
            continue
        calls.append(f"  for t{i} in T.parallel(threads):")
        calls.append(f"   Module.{name}(t{i} * {units} // threads, (t{i} + 1) * {units} // threads, {pointers})")
    parameters = [
        *(f"{name}: T.Buffer({shape}, 'float32')" for name, shape in shapes.items() if name.startswith("x")),
        f"weights: T.Buffer(({weights.size + ALIGNMENT},), 'float32')",
        "arena_: T.handle",
        *(f"{name}: T.Buffer({shape}, 'float32')" for name, shape in shapes.items() if name.startswith("y")),
        "threads: T.int32",
    ]
    source = "\n".join(
        [
            "@I.ir_module",
            "class Module:",
            *(kernel.render(name) for kernel, name in names.items()),
            " @T.prim_func(s_tir=True)",
            f" def {ENTRY}({', '.join(parameters)}):",
            f"  T.func_attr({{'global_symbol': '{ENTRY}', 'tirx.noalias': True}})",
            # How long it is depends on the number of threads.
            "  arena_size = T.int32()",
            "  arena = T.match_buffer(arena_, (arena_size,), 'float32')",
            *(calls or ["  T.evaluate(0)"]),
            "",
        ]
    )
    return GeneratedModule(
        source,
        weights.concatenated(),
        {name: kernel for kernel, name in names.items()},
        tuple((names[step.kernel], step) for step in steps),
    )
