"""Converters of element-wise operators of two or more inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.frontends.onnx.dense import with_bias
from cnnir.ir import Operator, Value
from cnnir.ops.activation import NoAttrs
from cnnir.ops.elementwise import ADD, DIV, MAX, MIN, MUL, POW, PRELU, SUB, BinaryAttrs
from cnnir.ops.shape import IDENTITY


def _binary(op: Operator[BinaryAttrs]) -> Converter:
    return lambda call: call.emit(op, BinaryAttrs(), call.value(0), call.value(1))


def add(call: Call) -> Result:
    """`Add`; the bias of a `MatMul` joins it in one fully connected layer."""
    a, b = call.value(0), call.value(1)
    for product, addend, i in ((a, b, 0), (b, a, 1)):
        merged = with_bias(call, product, addend, call.inputs[i])
        if merged is not None:
            return merged
    return call.emit(ADD, BinaryAttrs(), a, b)


def power(call: Call) -> Result:
    """`Pow`, whose exponent may have another element type than its base (since opset 12)."""
    x = call.value(0)
    exponent = call.known(1)
    if exponent is not None and exponent.dtype != object and exponent.dtype != x.type.dtype.numpy:
        return call.emit(POW, BinaryAttrs(), x, call.constant(exponent.astype(x.type.dtype.numpy), call.inputs[1]))
    return call.emit(POW, BinaryAttrs(), x, call.value(1))


def _chain(call: Call, op: Operator[BinaryAttrs], *, last: bool) -> Value:
    """`op` over all inputs from left to right; `last` says whether the result ends the node."""
    values = [call.value(i) for i in range(len(call.inputs))]
    if len(values) == 1:
        return call.emit(IDENTITY, NoAttrs(), values[0]) if last else values[0]
    result = values[0]
    for i, value in enumerate(values[1:], 1):
        ends = last and i == len(values) - 1
        result = call.emit(op, BinaryAttrs(), result, value, suffix="" if ends else f"part{i}")
    return result


def _variadic(op: Operator[BinaryAttrs]) -> Converter:
    return lambda call: _chain(call, op, last=True)


def mean(call: Call) -> Result:
    """`Mean` of its inputs: their sum divided by how many they are."""
    total = _chain(call, ADD, last=False)
    return call.emit(DIV, BinaryAttrs(), total, call.number(len(call.inputs), total))


def prelu(call: Call) -> Result:
    """`PRelu`; a slope `[C]` for an image, as some exporters write it, is one slope a channel."""
    x, slope = call.value(0), call.settled(1, "slope")
    if slope.data is not None and slope.type.rank == 1 and x.type.rank > 2 and slope.type.shape[0] != 1:
        broadcasts = slope.type.shape[0] == x.type.shape[-1]
        if not broadcasts and slope.type.shape[0] == x.type.shape[1]:
            array = slope.data.numpy().reshape(-1, *[1] * (x.type.rank - 2))
            slope = call.constant(np.ascontiguousarray(array), slope.name)
    return call.emit(PRELU, NoAttrs(), x, slope)


CONVERTERS: Mapping[str, Converter] = {
    "Add": add,
    "Div": _binary(DIV),
    "Max": _variadic(MAX),
    "Mean": mean,
    "Min": _variadic(MIN),
    "Mul": _binary(MUL),
    "PRelu": prelu,
    "Pow": power,
    "Sub": _binary(SUB),
    "Sum": _variadic(ADD),
}
