"""Removal of nodes that change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cnnir.ir import Graph, Node, Operator, Value
from cnnir.ops.elementwise import ADD, DIV, MUL, SUB, BinaryAttrs
from cnnir.ops.pool import AVERAGE_POOL, MAX_POOL, PoolAttrs
from cnnir.ops.shape import (
    CONCAT,
    DROPOUT,
    FLATTEN,
    IDENTITY,
    PAD,
    RESHAPE,
    SLICE,
    TRANSPOSE,
    SliceAttrs,
    TransposeAttrs,
)
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.facts import moves_nothing
from cnnir.passes.registry import register

_NEUTRAL = {ADD: 0.0, SUB: 0.0, MUL: 1.0, DIV: 1.0}
_MAX_CONSTANT = 1 << 16
"""Constants up to this many elements are looked at; a larger one is hardly a scale or shift."""


@register
@dataclass(frozen=True)
class RemoveIdentity(Pass):
    """Removes nodes whose output is their input, and merges transpositions that follow each other.

    Given:  Identity, Dropout (inference), Pad by nothing, Slice of everything, Concat of one, Transpose that keeps
            the order, Reshape or Flatten to the same shape, pooling of single pixels, Add of 0, Mul by 1
    Result: their input

    Given:  y = Transpose(Transpose(x, p), q)
    Result: y = Transpose(x, p after q)

    A node that hands a graph input or a constant on to a graph output stays: somebody has to write that output.
    """

    name: ClassVar[str] = "remove-identity"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            # In order, so that the input of a node is already free of identities when the node is looked at.
            for node in graph.nodes:
                if node.op is TRANSPOSE:
                    node = _merge_transposes(node, edit, report)
                value = _same_as(node)
                if value is None:
                    continue
                names = edit.output_names(node.output)
                if names and value.producer is None:
                    what = "constant" if value.is_constant else "graph input"
                    report.declined(node.name, f"hands {what} '{value.name}' on to graph output '{names[0]}'")
                    continue
                report.rewrote(node.name, f"removed, {node.op.name} changes nothing here")
                edit.bypass(node, value)


def _same_as(node: Node) -> Value | None:
    """The input that the output of `node` equals, if there is one."""
    test = _TESTS.get(node.op)
    if test is None:
        return _neutral_operand(node)
    x = node.inputs[0]
    return x if x is not None and x.type == node.output.type and test(node) else None


def _always(node: Node) -> bool:
    return True


def _joins_one(node: Node) -> bool:
    return len(node.inputs) == 1


def _keeps_direction(node: Node) -> bool:
    return isinstance(node.attrs, SliceAttrs) and all(step > 0 for step in node.attrs.steps)


def _keeps_order(node: Node) -> bool:
    return isinstance(node.attrs, TransposeAttrs) and moves_nothing(node.attrs.perm, node.output.type.shape)


def _pools_pixels(node: Node) -> bool:
    attrs = node.attrs
    return isinstance(attrs, PoolAttrs) and attrs.kernel_size == (1, 1) and not any(attrs.pads)


# What makes a node an identity when the type of its input is the type of its output.
_TESTS: dict[Operator[Any], Callable[[Node], bool]] = {
    IDENTITY: _always,
    DROPOUT: _always,
    PAD: _always,
    RESHAPE: _always,
    FLATTEN: _always,
    CONCAT: _joins_one,
    SLICE: _keeps_direction,
    TRANSPOSE: _keeps_order,
    MAX_POOL: _pools_pixels,
    AVERAGE_POOL: _pools_pixels,
}


def _neutral_operand(node: Node) -> Value | None:
    if node.op not in _NEUTRAL or not isinstance(node.attrs, BinaryAttrs) or node.attrs.activation is not None:
        return None
    a, b = node.inputs
    assert a is not None and b is not None
    for x, constant in ((a, b), (b, a)) if node.op in (ADD, MUL) else ((a, b),):
        if constant.data is None or x.type != node.output.type or constant.type.size > _MAX_CONSTANT:
            continue
        if np.all(constant.data.numpy() == _NEUTRAL[node.op]):
            return x
    return None


def _merge_transposes(node: Node, edit: Editor, report: Report) -> Node:
    """One transposition instead of `node` and the one before it, whether or not others read that one."""
    outer, before = TRANSPOSE.of(node), node.inputs[0]
    if outer is None or before is None or before.producer is None:
        return node
    inner = TRANSPOSE.of(before.producer)
    if inner is None:
        return node
    attrs = TransposeAttrs(tuple(inner.perm[i] for i in outer.perm))
    report.rewrote(node.name, f"merged with '{before.producer.name}' before it")
    merged = edit.replace(node, TRANSPOSE, attrs, before.producer.inputs)
    edit.erase_unread(before)
    return merged
