"""Epilogue fusion: bias, residual addition and activation become data of the node before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnnir.ir import Attrs, Graph, Node, Operator, Value
from cnnir.ir.registry import operators
from cnnir.ops.activation import Activation, UnaryOperator, activation_of
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.conv_transpose import CONV_TRANSPOSE, ConvTransposeAttrs
from cnnir.ops.dense import DenseAttrs
from cnnir.ops.elementwise import ADD, DIV, MAX, MIN, MUL, POW, SUB, BinaryAttrs
from cnnir.passes.affine import LINEAR, LinearLayer, per_channel
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.pattern import Anything, Apply, Constant, Match, Miss, Rule, apply_rules, match
from cnnir.passes.registry import register

_Carriers = ConvAttrs | ConvTransposeAttrs | DenseAttrs | BinaryAttrs
_BINARY = (ADD, SUB, MUL, DIV, MAX, MIN, POW)


class _Bias(Rule):
    """`Add(layer(x), constant a channel)` to `layer(x, bias)`, where the layer has no bias yet."""

    pattern = Apply("add", (ADD,), (Apply("layer", LINEAR), Constant("constant")), commutative=True)
    subject = "add"
    near = 3  # the layer is there; whether the other operand is a constant decides which rule is the near one

    def check(self, found: Match, edit: Editor) -> str | None:
        layer, constant = LinearLayer(found.nodes["layer"]), found.values["constant"]
        out = layer.node.output.type
        if found.root.output.type.shape != out.shape or not _is_per_channel(constant, layer):
            return f"'{constant.name}' of type {constant.type} is not one number a channel"
        if layer.activation is not None:
            return f"'{layer.node.name}' has an activation in between"
        if layer.has_residual:
            return f"'{layer.node.name}' adds a residual in between"
        if layer.bias is not None:
            return f"'{layer.node.name}' has a bias already (fold-affine adds them up)"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        layer, constant = LinearLayer(found.nodes["layer"]), found.values["constant"]
        node, root = layer.node, found.root
        data = per_channel(constant, layer.weight.type.shape[0], root.output.type.rank)
        assert data is not None
        bias = constant if data is constant.data else edit.constant(constant, data, (root,))
        inputs = layer.inputs(weight=layer.weight, bias=bias)
        attrs = with_activation(node.attrs, epilogue_of(root))
        edit.replace(root, node.op, attrs, inputs, absorbed=(node,), named=node)
        return f"fused into '{node.name}' as its bias"


class _Residual(Rule):
    """`Add(conv(x), other)` to `conv(x, residual=other)`.

    Where both operands are convolutions that could take it, the one that comes last does: the other is computed
    by then.
    """

    subject = "add"

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        return (ADD,)

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        sides = (Apply("conv", (CONV,)), Anything("other"))
        found = [match(Apply("add", (ADD,), order), node, edit) for order in (sides, sides[::-1])]
        fits = [f for f in found if isinstance(f, Match) and self.check(f, edit) is None]
        if fits:
            return max(fits, key=lambda f: edit.position(f.nodes["conv"]))
        near = [f for f in found if isinstance(f, Match)]
        return near[0] if near else max((f for f in found if isinstance(f, Miss)), key=lambda f: f.depth)

    def check(self, found: Match, edit: Editor) -> str | None:
        layer, other = LinearLayer(found.nodes["conv"]), found.values["other"]
        out = layer.node.output.type
        if layer.activation is not None:
            return f"'{layer.node.name}' has an activation in between"
        if layer.has_residual:
            return f"'{layer.node.name}' adds another residual already"
        if other.is_constant:
            return f"'{other.name}' is a constant"
        if (other.type.shape, other.type.dtype) != (out.shape, out.dtype):
            return f"'{other.name}' of type {other.type} broadcasts"
        if found.root.output.type.shape != out.shape:
            return f"'{layer.node.output.name}' of type {out} broadcasts"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        node, root = found.nodes["conv"], found.root
        inputs = [*node.inputs[:3], found.values["other"]]
        attrs = with_activation(node.attrs, epilogue_of(root))
        edit.replace(root, node.op, attrs, inputs, absorbed=(node,), named=node)
        return f"fused into '{node.name}' as its residual"


class _Activation(Rule):
    """`activation(node(x))` to `node(x, activation)`, for every node whose attributes can carry one."""

    subject = "activation"

    def __init__(self) -> None:
        unary = tuple(op for op in operators() if isinstance(op, UnaryOperator))
        self._pattern = Apply("activation", unary, (Apply("host", (*LINEAR, CONV_TRANSPOSE, *_BINARY)),))

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        return self._pattern.ops

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        return match(self._pattern, node, edit)

    def check(self, found: Match, edit: Editor) -> str | None:
        host = found.nodes["host"]
        if (first := epilogue_of(host)) is not None:
            return f"'{host.name}' has an activation already ({first.kind})"
        if not host.output.type.dtype.is_float:
            return f"'{host.output.name}' is {host.output.type.dtype}"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        host, root = found.nodes["host"], found.root
        activation = activation_of(root.op, root.attrs)
        assert activation is not None
        attrs = with_activation(host.attrs, activation)
        edit.replace(root, host.op, attrs, host.inputs, absorbed=(host,), named=host)
        return f"fused into '{host.name}' as its activation ({activation.kind})"


@register
@dataclass(frozen=True)
class FuseEpilogue(Pass):
    """Turns bias, residual addition and activation into the epilogue of the node before them.

    Given:  y = Relu(Add(Add(Conv(x, w), b), r))
    Result: y = Conv(x, w, b, residual=r, activation=relu)

    A dense layer takes bias and activation, a transposed convolution and an element-wise operator of two inputs an
    activation. Each step needs
    the value in between to have one reader, and the order bias, residual, activation, which is the epilogue's.
    """

    name: ClassVar[str] = "fuse-epilogue"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        apply_rules(graph, (_Bias(), _Residual(), _Activation()), report)


def epilogue_of(node: Node) -> Activation | None:
    """The activation that a node carries as data."""
    attrs = node.attrs
    return attrs.activation if isinstance(attrs, _Carriers) else None


def with_activation(attrs: Attrs, activation: Activation | None) -> Attrs:
    """The same attributes with that activation."""
    assert isinstance(attrs, _Carriers)
    return replace(attrs, activation=activation)


def _is_per_channel(constant: Value, layer: LinearLayer) -> bool:
    filters = layer.weight.type.shape[0]
    return per_channel(constant, filters, layer.node.output.type.rank) is not None
