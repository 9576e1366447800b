"""Arithmetic of per-channel scales and shifts around a convolution or a dense layer, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnnir.ir import Array, ArrayData, DType, LazyData, Node, TensorData, Value
from cnnir.ops.activation import Activation
from cnnir.ops.conv import CONV
from cnnir.ops.dense import DENSE
from cnnir.ops.elementwise import ADD, DIV, MUL, SUB
from cnnir.ops.normalization import BATCH_NORM
from cnnir.passes.editor import Editor

LINEAR = (CONV, DENSE)
"""Operators with ports x, weight `[O, I, ...]`, bias `[O]`: a weighted sum over channels."""

AFFINE = (BATCH_NORM, ADD, SUB, MUL, DIV)
"""Operators that scale and shift every channel by itself when their other inputs are constants."""

_X, _WEIGHT, _BIAS, _RESIDUAL = range(4)


@dataclass(frozen=True)
class Affine:
    """`y[:, c] = scale[c] * x[:, c] + shift[c]`, both of shape `[C]` in float64.

    `additive` says whether the operator has a shift at all, whatever its elements: whether a layer gets a bias
    must not depend on them, or an untrained network would compile to other kernels than the trained one.
    """

    scale: Array
    shift: Array
    additive: bool

    @property
    def shifts(self) -> bool:
        """Whether zero maps to anything but zero."""
        return bool(np.any(self.shift))

    @property
    def scales(self) -> bool:
        return bool(np.any(self.scale != 1))


@dataclass(frozen=True)
class LinearLayer:
    """One view of convolutions and dense layers."""

    node: Node

    @property
    def x(self) -> Value:
        return _present(self.node.inputs[_X])

    @property
    def weight(self) -> Value:
        return _present(self.node.inputs[_WEIGHT])

    @property
    def bias(self) -> Value | None:
        return self.node.inputs[_BIAS]

    @property
    def has_residual(self) -> bool:
        return self.node.op is CONV and self.node.inputs[_RESIDUAL] is not None

    @property
    def activation(self) -> Activation | None:
        conv, dense = CONV.of(self.node), DENSE.of(self.node)
        return conv.activation if conv else dense.activation if dense else None

    @property
    def groups(self) -> int:
        conv = CONV.of(self.node)
        return conv.groups if conv else 1

    @property
    def is_padded(self) -> bool:
        conv = CONV.of(self.node)
        return conv is not None and any(conv.pads)

    def inputs(self, *, x: Value | None = None, weight: Value, bias: Value | None) -> list[Value | None]:
        """The inputs with some replaced."""
        return [x or self.x, weight, bias, *self.node.inputs[_RESIDUAL:]]

    def unfit(self) -> str | None:
        """Why its weight and bias cannot be rewritten, or `None`."""
        for value in (self.weight, self.bias):
            if value is not None and not value.is_constant:
                return f"'{value.name}' of '{self.node.name}' is not a constant"
            if value is not None and (reason := unfit_type(value)):
                return reason
        return None

    def cannot_absorb_after(self) -> str | None:
        """Why something after it cannot move into its weights, or `None`."""
        if self.activation is not None:
            return f"'{self.node.name}' has an activation in between"
        if self.has_residual:
            return f"'{self.node.name}' adds a residual in between"
        return self.unfit()


def unfit_type(value: Value) -> str | None:
    """Why arithmetic on a constant would not be exact up to one rounding that does not matter, or `None`.

    Scaled weights of 16 bits would be rounded a second time to 8 or 11 bits, and may overflow.
    """
    if value.type.dtype in (DType.F32, DType.F64):
        return None
    return f"'{value.name}' is {value.type.dtype}, which would be rounded a second time"


def affine_of(node: Node) -> tuple[Affine, Value] | str:
    """The per-channel scale and shift that `node` applies, and to what; or why it is not of that kind."""
    if (norm := BATCH_NORM.of(node)) is not None:
        constants = [_present(v) for v in node.inputs[1:]]
        if other := next((v for v in constants if not v.is_constant), None):
            return f"'{other.name}' is not a constant"
        if reason := next(filter(None, map(unfit_type, constants)), None):
            return reason
        gamma, beta, mean, var = (_float64(v) for v in constants)
        with np.errstate(all="ignore"):  # what is not finite is refused below
            scale = gamma / np.sqrt(var + norm.epsilon)
            affine = Affine(scale, beta - mean * scale, True)
        return _finite(affine, node, _present(node.inputs[0]))
    return _affine_of_binary(node) if node.op in AFFINE else f"is {node.op.name}"


def _affine_of_binary(node: Node) -> tuple[Affine, Value] | str:
    a, b = (_present(v) for v in node.inputs)
    if a.is_constant == b.is_constant:
        return "has two constant operands" if a.is_constant else "has no constant operand"
    x, constant = (b, a) if a.is_constant else (a, b)
    if node.output.type.shape != x.type.shape:
        return f"'{constant.name}' broadcasts {x.type} to {node.output.type}"
    if getattr(node.attrs, "activation", None) is not None:
        return "carries an activation"
    if reason := unfit_type(constant):
        return reason
    rank = x.type.rank
    shape = (1,) * (rank - constant.type.rank) + constant.type.shape
    if rank < 2 or any(d != 1 for i, d in enumerate(shape) if i != 1):
        return f"'{constant.name}' of type {constant.type} is not one number a channel"
    c = np.broadcast_to(_float64(constant).reshape(-1), (x.type.shape[1],))
    one, zero = np.ones_like(c), np.zeros_like(c)
    if node.op is ADD:
        affine = Affine(one, c, True)
    elif node.op is MUL:
        affine = Affine(c, zero, False)
    elif node.op is SUB:
        affine = Affine(-one, c, True) if a.is_constant else Affine(one, -c, True)
    elif a.is_constant:
        return "divides by a value that is not constant"
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            affine = Affine(1 / c, zero, False)
    return _finite(affine, node, x)


def _finite(affine: Affine, node: Node, x: Value) -> tuple[Affine, Value] | str:
    limit = float(np.finfo(np.float32).max)
    if not all(np.all(np.abs(a) <= limit) for a in (affine.scale, affine.shift)):
        return f"the scale or shift of '{node.name}' is not finite"
    return affine, x


def fold_after(affine: Affine, layer: LinearLayer, absorbed: Node, edit: Editor) -> list[Value | None]:
    """Inputs of `layer` with `affine`, applied to its output, moved into weight and bias.

    `scale * (W x + b) + shift = (scale W) x + (scale b + shift)`.
    """
    users = (layer.node, absorbed)
    weight, bias = layer.weight, layer.bias
    if affine.scales:
        scale = affine.scale.reshape(-1, *(1,) * (weight.type.rank - 1))
        data = lazily(weight, lambda w: w * scale)
        weight = edit.constant(weight, data, users)
    if bias is not None:
        bias = edit.constant(bias, lazily(bias, lambda b: b * affine.scale + affine.shift), users)
    elif affine.additive:
        array = affine.shift.astype(weight.type.dtype.numpy)
        bias = edit.new_constant(f"{layer.node.name}.bias", ArrayData(array))
    return layer.inputs(weight=weight, bias=bias)


def fold_before(affine: Affine, layer: LinearLayer, x: Value, absorbed: Node, edit: Editor) -> list[Value | None]:
    """Inputs of `layer` with `affine`, applied to its input, moved into weight and bias.

    `W (scale x + shift) + b = (W scale) x + (W shift + b)`: exact only if no window sees padding, which stays
    zero, or if the shift is zero.
    """
    users = (layer.node, absorbed)
    old, bias = layer.weight, layer.bias
    filters, inner = old.type.shape[:2]
    groups = layer.groups

    def for_filters(channels: Array) -> Array:
        """`[C]` to `[O, C/groups, 1, ...]`: what each filter sees of the channels of its own group."""
        rows = np.repeat(channels.reshape(groups, inner), filters // groups, axis=0)
        return rows.reshape(filters, inner, *(1,) * (old.type.rank - 2))

    weight = old
    if affine.scales:
        weight = edit.constant(old, lazily(old, lambda w: w * for_filters(affine.scale)), users)
    if affine.additive:
        axes = tuple(range(1, old.type.rank))

        def offset() -> Array:
            total: Array = (_float64(old) * for_filters(affine.shift)).sum(axis=axes)
            return total

        if bias is None:
            dtype = old.type.dtype
            data = LazyData((filters,), dtype, lambda: offset().astype(dtype.numpy))
            bias = edit.new_constant(f"{layer.node.name}.bias", data)
        else:
            bias = edit.constant(bias, lazily(bias, lambda b: b + offset()), users)
    return layer.inputs(x=x, weight=weight, bias=bias)


def per_channel(constant: Value, filters: int, rank: int) -> TensorData | None:
    """The data of `constant` as a bias `[filters]` for an output of that rank; `None` if it is none.

    The data itself, not a copy, where it has that shape already.
    """
    shape = (1,) * (rank - constant.type.rank) + constant.type.shape
    if constant.type.rank > rank or any(d != 1 for i, d in enumerate(shape) if i != 1):
        return None
    data = _data(constant)
    if data.shape == (filters,):
        return data
    return LazyData((filters,), data.dtype, lambda: np.broadcast_to(data.numpy().reshape(-1), (filters,)))


def lazily(value: Value, compute: Callable[[Array], Array]) -> TensorData:
    """`compute` over the elements in float64, rounded once, when somebody asks: untrained networks stay cheap."""
    data = _data(value)

    def load() -> Array:
        return compute(data.numpy().astype(np.float64)).astype(data.dtype.numpy)

    return LazyData(data.shape, data.dtype, load)


def _data(value: Value) -> TensorData:
    assert value.data is not None
    return value.data


def _float64(value: Value) -> Array:
    return _data(value).numpy().astype(np.float64)


def _present(value: Value | None) -> Value:
    assert value is not None
    return value
