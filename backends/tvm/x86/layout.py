"""The layout pass: channel-blocked activations where kernels want them, halos where convolutions need them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cnnir.backends.tvm.x86.lowering.context import LayoutRule
from cnnir.backends.tvm.x86.lowering.upsample import transposed_halo
from cnnir.backends.tvm.x86.support import rule_of
from cnnir.ir import PLAIN, Graph, Layout, Node, Value
from cnnir.ir.types import Halo
from cnnir.ops.conv import CONV
from cnnir.ops.layout import REORDER, ReorderAttrs
from cnnir.ops.pool import GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL
from cnnir.passes.base import EXACT, Contract, Pass, Report

GLOBAL_POOLS = (GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL)
"""They write plain order where dense layers read it: no reorder in between."""

FIRST_LAYER_CHANNELS = 4
"""A convolution reads a plain input of at most so many channels as one block holding all of them (`nchw3c`)."""


@dataclass(frozen=True)
class AssignLayout(Pass):
    """Chooses the layout of every value and inserts the reorders that follow from it.

    Given: a static graph in plain NCHW order.
    Result: convolutions, poolings and what stands between them work on `NCHWbc` (b = `lanes`); every blocked
    value carries the largest zero halo that a convolution reading it needs, so that no convolution tests for
    borders; `Reorder` nodes stand where plain meets blocked; inputs and outputs of the graph stay plain.
    """

    name: ClassVar[str] = "assign-layout"
    contract: ClassVar[Contract] = EXACT
    lanes: int = 16

    def run(self, graph: Graph, report: Report) -> None:
        blocked: dict[Value, Layout] = {}  # the chosen layout, still without halo
        reorders: dict[tuple[Value, int], Value] = {}
        names = _Names(graph)

        def in_block(value: Value, block: int, before: list[Node]) -> Value:
            """`value` itself or a reordered copy with this block."""
            if blocked.get(value, PLAIN).block == block:
                return value
            if (value, block) not in reorders:
                suffix = f"nchw{block}c" if block > 1 else "nchw"
                node = Node(REORDER, ReorderAttrs(), [value], name=names.fresh(f"{value.name}.{suffix}"))
                before.append(node)
                blocked[node.output] = Layout(block)
                reorders[(value, block)] = node.output
            return reorders[(value, block)]

        order: list[Node] = []
        for node in graph.nodes:
            block = self._block(node, blocked)
            for i, value in enumerate(node.inputs):
                if value is None or value.is_constant:
                    continue
                wanted = block if value.type.rank == 4 else 1
                if node.op is CONV and i == 0 and block > 1:
                    wanted = self._input_block(node, value, blocked)
                node.set_input(i, in_block(value, wanted, order))
            for value in node.outputs:
                one_pixel = node.op in GLOBAL_POOLS and all(
                    rule_of(user) is LayoutRule.PLAIN for user, _ in value.uses
                )
                blocked[value] = Layout(block if value.type.rank == 4 and not one_pixel else 1)
            order.append(node)
        tail: list[Node] = []
        graph.outputs = {name: in_block(v, 1, tail) for name, v in graph.outputs.items()}
        graph.nodes = order + tail
        halos = _halos(graph, blocked)
        changed = 0
        for value in graph.values():
            layout = blocked.get(value, PLAIN)
            if not layout.is_plain:
                value.type = value.type.with_layout(replace(layout, halo=halos.get(value, layout.halo)))
                changed += 1
        for node in graph.nodes:
            if node.op is REORDER:
                report.rewrote(node.name, f"reorder to {node.output.type.layout}")
        if changed:
            report.rewrote(graph.name, f"{changed} values in blocks of {self.lanes} channels")

    def _block(self, node: Node, blocked: dict[Value, Layout]) -> int:
        """The channel block in which this node works; 1 for plain order."""
        rule = rule_of(node)
        if rule is LayoutRule.PLAIN:
            return 1
        if rule is LayoutRule.BLOCKED:
            return self.lanes
        follows = [blocked.get(v, PLAIN).block for v in node.inputs if v is not None and not v.is_constant]
        return self.lanes if self.lanes in follows else 1

    def _input_block(self, node: Node, value: Value, blocked: dict[Value, Layout]) -> int:
        attrs = CONV.of(node)
        assert attrs is not None
        channels = value.type.shape[1]
        first = value.producer is None and channels <= FIRST_LAYER_CHANNELS and attrs.groups == 1
        # Never one channel a block: that is the plain order, which has no halo.
        return max(channels, 2) if first else self.lanes


def _halos(graph: Graph, blocked: dict[Value, Layout]) -> dict[Value, Halo]:
    """For each blocked value the largest padding with which a convolution reads it."""
    halos: dict[Value, Halo] = {}
    for node in graph.nodes:
        attrs = CONV.of(node)
        value = node.inputs[0] if node.inputs else None
        needed = transposed_halo(node) if attrs is None else attrs.pads
        if needed is None or value is None or blocked.get(value, PLAIN).is_plain:
            continue
        now = halos.get(value, (0, 0, 0, 0))
        top, left, bottom, right = (max(a, b) for a, b in zip(now, needed, strict=True))
        halos[value] = (top, left, bottom, right)
    return halos


class _Names:
    """Fresh names in constant time each."""

    def __init__(self, graph: Graph) -> None:
        self._taken = {v.name for v in graph.values()} | {n.name for n in graph.nodes}

    def fresh(self, base: str) -> str:
        name, i = base, 0
        while name in self._taken:
            i += 1
            name = f"{base}_{i}"
        self._taken.add(name)
        return name
