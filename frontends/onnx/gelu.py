"""GELU as exporters spell it out before opset 20: `0.5 * x * (1 + erf(x / sqrt(2)))`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import helper

from cnnir.errors import CnnirError
from cnnir.frontends.onnx.fold import tensor_array

TOLERANCE = 1e-3
"""Relative: constants of half-precision exports count too; sqrt(2) in float16 is off by 3e-4."""


def join_gelu(nodes: Sequence[Any], weights: Mapping[str, Any], reads: Counter[str]) -> list[Any]:
    """The nodes, with each spelt-out GELU replaced by one `Gelu` node named after its `Erf`.

    Given: `d = x / sqrt(2)` (or a product), `e = Erf(d)`, `a = e + 1`, then the product of `x`, `a` and 0.5 in any
    order. Result: `Gelu(x)`. Declined, the nodes staying as they are: an inner tensor with another reader.
    """
    matcher = _Matcher(nodes, weights, reads)
    replaced: dict[int, Any] = {}
    dropped: set[int] = set()
    for node in nodes:
        match = matcher.match(node) if node.op_type == "Erf" else None
        if match is not None:
            x, interior, last = match
            name = node.name or last.output[0]
            replaced[id(last)] = helper.make_node("Gelu", [x], [last.output[0]], name=name)
            dropped.update(id(n) for n in interior)
    return [replaced.get(id(n), n) for n in nodes if id(n) not in dropped]


class _Matcher:
    def __init__(self, nodes: Sequence[Any], weights: Mapping[str, Any], reads: Counter[str]) -> None:
        self._producer = {o: n for n in nodes for o in n.output}
        self._readers: dict[str, list[Any]] = {}
        for node in nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._weights = weights
        self._reads = reads

    def match(self, erf: Any) -> tuple[str, list[Any], Any] | None:
        """The input `x`, the nodes before the last, the last node."""
        scaled = self._producer.get(erf.input[0]) if erf.input and erf.output else None
        if scaled is None or self._reads[erf.input[0]] != 1:
            return None
        root = math.sqrt(2)
        x = self._other(scaled, "Div", root) or self._other(scaled, "Mul", 1 / root)
        plus = self._only_reader(erf)
        if x is None or plus is None or self._other(plus, "Add", 1.0) != erf.output[0]:
            return None
        # The product of x, a and 0.5: two Muls, of which one may be `0.5 * x`, computed before.
        first = self._only_reader(plus)
        if first is None or first.op_type != "Mul":
            return None
        factor = next((i for i in first.input if i != plus.output[0]), "")
        halved = self._producer.get(factor)
        if halved is not None and self._other(halved, "Mul", 0.5) == x and self._reads[factor] == 1:
            return x, [scaled, erf, plus, halved], first
        last = self._only_reader(first)
        if last is None:
            return None
        x_then_half = factor == x and self._other(last, "Mul", 0.5) == first.output[0]
        half_then_x = self._is(factor, 0.5) and last.op_type == "Mul" and x in last.input
        return (x, [scaled, erf, plus, first], last) if x_then_half or half_then_x else None

    def _only_reader(self, node: Any) -> Any:
        output = next(iter(node.output), "")
        readers = self._readers.get(output, [])
        return readers[0] if len(readers) == 1 and self._reads[output] == 1 else None

    def _other(self, node: Any, op: str, constant: float) -> str | None:
        """The input of the node beside that constant, if it is such a node (`Div`: the constant second)."""
        if node.op_type != op or len(node.input) != 2:
            return None
        a, b = node.input
        if self._is(b, constant):
            return str(a)
        return str(b) if op != "Div" and self._is(a, constant) else None

    def _is(self, name: str, constant: float) -> bool:
        tensor = self._weights.get(name)
        if tensor is None:
            node = self._producer.get(name)
            if node is None or node.op_type != "Constant" or not node.attribute:
                return False
            attribute = node.attribute[0]
            if attribute.name == "value_float":
                return math.isclose(attribute.f, constant, rel_tol=TOLERANCE)
            if attribute.name != "value":
                return False
            tensor = attribute.t
        if math.prod(tensor.dims) != 1:
            return False
        try:
            array = tensor_array(tensor, "a constant", name)
        except CnnirError:
            return False  # reported where the tensor is read as what it is
        return array.dtype.kind == "f" and math.isclose(float(array.reshape(())), constant, rel_tol=TOLERANCE)
