"""Common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Graph, Node, TensorData, Value, digest
from cnnir.ops.elementwise import BinaryOperator
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register

_PROBE = 64
"""Elements compared before a digest of everything is worth its time."""


@register
@dataclass(frozen=True)
class Cse(Pass):
    """Computes equal things once.

    Given:  two nodes with the same operator, attributes, layouts and inputs (in any order if it commutes)
    Result: the first, read by all

    Constants are equal if type and elements are. Their elements are only looked at when everything else about the
    two nodes agrees, so a network whose weights are not read yet stays that way. Equal constants of different
    nodes are left alone: two parameters that happen to be equal are still two parameters.
    """

    name: ClassVar[str] = "cse"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        constants = _Constants()
        seen: dict[Hashable, list[Node]] = {}
        with Editor(graph) as edit:
            # In order, so that the inputs of two equal nodes have become one before the nodes are compared.
            for node in graph.nodes:
                candidates = seen.setdefault(_key(node), [])
                first = next((c for c in candidates if constants.agree(c, node)), None)
                if first is None:
                    candidates.append(node)
                    continue
                for old, new in zip(node.outputs, first.outputs, strict=True):
                    graph.replace_value(old, new)
                edit.erase(node)
                report.rewrote(node.name, f"is the same as '{first.name}'")


def _key(node: Node) -> Hashable:
    """Equal for nodes that differ at most in the elements of their constants."""
    inputs = [_input_key(v) for v in _ordered(node)]
    return node.op, node.attrs, tuple(v.type.layout for v in node.outputs), tuple(inputs)


def _input_key(value: Value | None) -> Hashable:
    if value is None:
        return None
    return value.type if value.is_constant else value


def _ordered(node: Node) -> tuple[Value | None, ...]:
    """The inputs, in an order of their own if the operator commutes: constants last, others by identity."""
    if isinstance(node.op, BinaryOperator) and node.op.commutes:
        return tuple(sorted(node.inputs, key=lambda v: (v is None or v.is_constant, id(v))))
    return node.inputs


class _Constants:
    """Compares constants, the cheapest test first, each digest computed once."""

    def __init__(self) -> None:
        self._digests: dict[int, tuple[TensorData, str]] = {}

    def agree(self, a: Node, b: Node) -> bool:
        """Whether the constants of two nodes with equal keys are equal."""
        pairs = zip(_ordered(a), _ordered(b), strict=True)
        return all(v is w or self._same(v, w) for v, w in pairs if v is not None and w is not None)

    def _same(self, a: Value, b: Value) -> bool:
        if a.data is None or b.data is None:
            return False
        if a.data is b.data:
            return True
        x, y = a.data.numpy(), b.data.numpy()
        # Bits, not numbers: 0 and -0 differ under a division, NaN equals itself.
        probe = [np.ascontiguousarray(v.reshape(-1)[:_PROBE]).tobytes() for v in (x, y)]
        return probe[0] == probe[1] and (x.size <= _PROBE or self._digest(a.data) == self._digest(b.data))

    def _digest(self, data: TensorData) -> str:
        if id(data) not in self._digests:
            # The data is kept with its digest, so that its id stays its own.
            self._digests[id(data)] = (data, digest(data))
        return self._digests[id(data)][1]
