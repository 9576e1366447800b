"""The x86 backend: a graph in blocked layouts becomes one shared object, packed weights and a memory plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.product import Product
from cnnir.backends.tvm.build import build_module
from cnnir.backends.tvm.link import link
from cnnir.backends.tvm.module import ENTRY, GeneratedModule, generate
from cnnir.backends.tvm.plan import MemoryPlan, plan_memory
from cnnir.backends.tvm.steps import Lowered, Step, View
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.layout import AssignLayout
from cnnir.backends.tvm.x86.lowering.context import Context, unsupported
from cnnir.backends.tvm.x86.lowering.outputs import separate_outputs
from cnnir.backends.tvm.x86.support import SUPPORT
from cnnir.cache import Cache
from cnnir.errors import CnnirError
from cnnir.ir import DType, Graph
from cnnir.manifest import Json, TvmExecution
from cnnir.passes.base import Pass
from cnnir.passes.constant_folding import ConstantFolding

Progress = Callable[[str, int, int], None]

LIBRARY = "kernels.so"
WEIGHTS = "weights.f32"
CODE_VERSION = "tvm-0.27.0.post1/1"
"""Part of every cache key: raise the number when the same source would be built differently."""


def target_passes(isa: Isa) -> tuple[Pass, ...]:
    """The passes that this backend needs after those of the user.

    Constants are folded because kernels take activations from memory and weights packed, nothing in between.
    """
    return (ConstantFolding(dequantize=True), AssignLayout(isa.lanes))


def check_supported(graph: Graph) -> None:
    """Refuses, before any work is done, a graph with operators or element types that this backend lacks."""
    named = {v.name: v for v in graph.inputs} | graph.outputs
    for name, value in named.items():
        if value.type.dtype is not DType.F32:
            raise CnnirError(
                f"The x86 backend has float32 inputs and outputs only, '{name}' is of type {value.type}.",
                hints=["Target 'onnx' may be able to: `--target onnx`."],
            )
    missing = [node for node in graph.nodes if node.op.name not in SUPPORT]
    if missing:
        raise unsupported(missing[0], "the operator has no kernel")


def lower(graph: Graph, isa: Isa) -> list[Lowered]:
    """Kernel calls and views for a static graph in the layouts that the layout pass gave it."""
    lowered: list[Lowered] = []
    for node in graph.nodes:
        try:
            lowered += SUPPORT[node.op.name].lower(Context(isa, node))
        except ValueError as error:  # a kernel that refuses its parameters
            raise unsupported(node, str(error)) from error
    return separate_outputs(graph, lowered, isa)


def compile_graph(
    graph: Graph, isa: Isa, *, cache: Cache | None = None, progress: Progress | None = None
) -> Product:
    """Compiles a static graph that has been through `target_passes`.

    With a cache, code whose source is unchanged is not compiled again; weights never are part of the key.
    """
    say = progress or (lambda what, done, total: None)
    check_supported(graph)
    lowered = lower(graph, isa)
    plan = plan_memory(graph, lowered)
    steps = [item for item in lowered if isinstance(item, Step)]
    say("generate code", 0, 0)
    generated = generate(graph, steps, plan)
    key = hashlib.sha256("\0".join([CODE_VERSION, isa.mcpu, generated.source]).encode()).hexdigest()
    library = cache.get(key) if cache else None
    if library is None:
        say(f"compile {len(generated.kernels)} kernels", 0, 0)
        library = link(build_module(generated.source, isa.target))
        if cache:
            cache.put(key, library)
    execution = TvmExecution(LIBRARY, WEIGHTS, max(plan.size, 16) * 4, ENTRY, plan.scratch * 4)
    members: dict[str, bytes | NDArray[Any]] = {LIBRARY: library, WEIGHTS: generated.weights}
    return Product(execution, members, describe(generated, plan, lowered))


def describe(generated: GeneratedModule, plan: MemoryPlan, lowered: list[Lowered]) -> dict[str, Json]:
    """What reports show: each call with its kernel, work units and source nodes; the memory of the plan."""
    calls: list[Json] = [
        {
            "node": step.node.name,
            "origins": list(step.node.origins),
            "loc": "" if step.node.loc is None else str(step.node.loc),
            "kernel": name,
            "family": type(step.kernel).__name__,
            "units": step.kernel.units,
            "flops": step.kernel.flops,
        }
        for name, step in generated.calls
    ]
    return {
        "calls": calls,
        "kernels": len(generated.kernels),
        "views": sum(isinstance(item, View) for item in lowered),
        "arena_bytes": plan.size * 4,
        "scratch_bytes": plan.scratch * 4,
        "unplanned_bytes": int(sum(np.prod(v.type.physical_shape) for v in plan.offsets)) * 4,
        "weights_bytes": int(generated.weights.nbytes),
    }
