"""Constant folding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, ArrayData, DType, Graph, Node, Value
from cnnir.ops.quantize import DEQUANTIZE_LINEAR
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register


@register
@dataclass(frozen=True)
class ConstantFolding(Pass):
    """Evaluates nodes that read nothing but constants.

    Given:  y = op(c1, c2, ...), all inputs constant
    Result: y is a constant, computed in float64 and rounded once

    Declined where the result would have more than `max_elements` elements and more than its inputs together, and
    for quantised weights (`DequantizeLinear`), whose 8-bit form is worth more, unless `dequantize` is set.
    """

    max_elements: int = 1 << 22
    dequantize: bool = False

    name: ClassVar[str] = "constant-folding"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            for node in graph.nodes:
                inputs = [v for v in node.inputs if v is not None]
                if not inputs or not all(v.is_constant for v in inputs):
                    continue
                if reason := self._reason(node, inputs, edit):
                    report.declined(node.name, reason)
                    continue
                arrays = node.op.reference(node.attrs, [None if v is None else _exact(v) for v in node.inputs])
                for old, array in zip(node.outputs, arrays, strict=True):
                    rounded = np.ascontiguousarray(array, dtype=old.type.dtype.numpy).reshape(old.type.shape)
                    # The node is about to go, and its value's name with it.
                    graph.replace_value(old, Value.constant(old.name, ArrayData(rounded)))
                edit.erase(node)
                report.rewrote(node.name, f"computed {node.output.type} at compile time")

    def _reason(self, node: Node, inputs: list[Value], edit: Editor) -> str | None:
        for value in node.outputs:
            if names := edit.output_names(value):
                return f"'{value.name}' is the graph output '{names[0]}'"
        if node.op is DEQUANTIZE_LINEAR and not self.dequantize:
            return "is a quantised weight"
        size = sum(v.type.size for v in node.outputs)
        if size > max(self.max_elements, sum(v.type.size for v in inputs)):
            return f"the result would have {size} elements, more than {self.max_elements} and than its inputs"
        return None


def _exact(value: Value) -> Array:
    """The elements in float64 if they are floating point numbers, as they are otherwise."""
    assert value.data is not None
    array = value.data.numpy()
    return array.astype(np.float64) if DType.of(array.dtype).is_float else array
