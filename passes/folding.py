"""The two rules that move a per-channel scale and shift into a convolution or dense layer."""

from __future__ import annotations

from typing import Any

from cnnir.ir import Node, Operator, Value
from cnnir.passes.affine import LINEAR, Affine, LinearLayer, affine_of, fold_after, fold_before
from cnnir.passes.editor import Editor
from cnnir.passes.pattern import Anything, Apply, Match, Miss, Rule, match


class IntoLayerBefore(Rule):
    """`affine(layer(x))` to `layer'(x)`."""

    subject = "affine"
    near = 1

    def __init__(self, ops: tuple[Operator[Any], ...]) -> None:
        self._ops = ops

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        return self._ops

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        layer = Apply("layer", LINEAR)
        pattern = Apply("affine", (node.op,), (layer,))
        affine = affine_of(node)
        if isinstance(affine, str):
            # The sum of two branches is no near miss of anything.
            near = any(v is not None and v.is_constant for v in node.inputs)
            return Miss(affine, Match(node, {"affine": node} if near else {}))
        if node.inputs[0] is not affine[1]:
            pattern = Apply("affine", (node.op,), (Anything("constant"), layer))
        return match(pattern, node, edit)

    def check(self, found: Match, edit: Editor) -> str | None:
        return LinearLayer(found.nodes["layer"]).cannot_absorb_after()

    def rewrite(self, found: Match, edit: Editor) -> str:
        root, layer = found.root, LinearLayer(found.nodes["layer"])
        affine, _ = _affine(found)
        inputs = fold_after(affine, layer, root, edit)
        node = layer.node
        edit.replace(root, node.op, node.attrs, inputs, absorbed=(node,), named=node)
        return f"folded into '{node.name}' before it"


class IntoLayerAfter(Rule):
    """`layer(affine(x))` to `layer'(x)`."""

    subject = "affine"

    def __init__(self, ops: tuple[Operator[Any], ...]) -> None:
        self._pattern = Apply("layer", LINEAR, (Apply("affine", ops),))

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        return LINEAR

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        producer = LinearLayer(node).x.producer
        if producer is not None and isinstance(reason := affine_of(producer), str):
            # Not one number a channel at all: nothing is missed here.
            return Miss(reason, Match(node))
        return match(self._pattern, node, edit)

    def check(self, found: Match, edit: Editor) -> str | None:
        layer = LinearLayer(found.root)
        if reason := layer.unfit():
            return reason
        affine, x = _affine(found)
        if layer.is_padded and affine.shifts:
            return f"'{layer.node.name}' after it pads with zeros, which the shift would not reach"
        if x.type.dtype != layer.weight.type.dtype:
            return f"'{x.name}' is {x.type.dtype}, '{layer.weight.name}' is {layer.weight.type.dtype}"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        layer, affine_node = LinearLayer(found.root), found.nodes["affine"]
        affine, x = _affine(found)
        inputs = fold_before(affine, layer, x, affine_node, edit)
        edit.replace(layer.node, layer.node.op, layer.node.attrs, inputs, absorbed=(affine_node,))
        return f"folded into '{layer.node.name}' after it"


def _affine(found: Match) -> tuple[Affine, Value]:
    result = affine_of(found.nodes["affine"])
    assert not isinstance(result, str)
    return result
