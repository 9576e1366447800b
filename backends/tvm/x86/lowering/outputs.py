"""Gives every output of the graph memory of its own, which the caller provides."""

from __future__ import annotations

from collections.abc import Sequence

from cnnir.backends.tvm.steps import Lowered, Step, View
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.lowering.arrays import copy_of
from cnnir.errors import CnnirError
from cnnir.ir import Graph, Node, Value
from cnnir.ops.shape import IDENTITY


def separate_outputs(graph: Graph, lowered: Sequence[Lowered], isa: Isa) -> list[Lowered]:
    """Adds copies for outputs that share memory with an input, or with another output."""
    result = list(lowered)
    roots: dict[Value, Value] = {}
    for item in lowered:
        if isinstance(item, View):
            roots[item.value] = roots.get(item.base, item.base)
    written = {value for item in lowered if isinstance(item, Step) for value in item.writes}
    taken: set[Value] = set()
    for name, value in graph.outputs.items():
        root = roots.get(value, value)
        if root.is_constant:
            raise CnnirError(f"Output '{name}' of '{graph.name}' is a constant: there is nothing to compile.")
        if root in written and root not in taken:
            taken.add(root)
            continue
        node = Node(IDENTITY, IDENTITY.attrs_type(), [value], name=graph.fresh_name(f"{name}.copy"))
        graph.nodes.append(node)
        graph.outputs[name] = node.output
        result.append(copy_of(value, node.output, node, isa))
    return result
