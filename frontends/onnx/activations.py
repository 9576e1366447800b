"""Converters of element-wise functions of one input."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.ir import Operator
from cnnir.ops.activation import (
    ABS,
    CLIP,
    ELU,
    EXP,
    GELU,
    HARD_SIGMOID,
    HARD_SWISH,
    LEAKY_RELU,
    NEG,
    RELU,
    SIGMOID,
    SILU,
    SQRT,
    TANH,
    AlphaAttrs,
    ClipAttrs,
    EluAttrs,
    HardSigmoidAttrs,
    NoAttrs,
)


def _plain(op: Operator[NoAttrs]) -> Converter:
    return lambda call: call.emit(op, NoAttrs(), call.value(0))


def clip(call: Call) -> Result:
    """Bounds are attributes before opset 11, constant inputs since; either may be missing."""
    x = call.value(0)
    bounds = [-math.inf, math.inf]
    for i, name in enumerate(("min", "max")):
        if call.opset < 11:
            bounds[i] = call.float_attr(name, bounds[i])
        elif call.given(i + 1):
            bounds[i] = call.scalar(i + 1, f"bound '{name}'")
    return call.emit(CLIP, ClipAttrs(*bounds), x)


def leaky_relu(call: Call) -> Result:
    return call.emit(LEAKY_RELU, AlphaAttrs(call.float_attr("alpha", 0.01)), call.value(0))


def elu(call: Call) -> Result:
    return call.emit(ELU, EluAttrs(call.float_attr("alpha", 1.0)), call.value(0))


def hard_sigmoid(call: Call) -> Result:
    attrs = HardSigmoidAttrs(call.float_attr("alpha", 0.2), call.float_attr("beta", 0.5))
    return call.emit(HARD_SIGMOID, attrs, call.value(0))


def gelu(call: Call) -> Result:
    kind = call.string_attr("approximate", "none")
    if kind != "none":
        raise call.error(f"'Gelu' with the approximation '{kind}' is not supported; the exact one is.")
    return call.emit(GELU, NoAttrs(), call.value(0))


def swish(call: Call) -> Result:
    alpha = call.float_attr("alpha", 1.0)
    if alpha != 1:
        raise call.error(f"'Swish' is supported with alpha 1, got {alpha}.")
    return call.emit(SILU, NoAttrs(), call.value(0))


CONVERTERS: Mapping[str, Converter] = {
    "Abs": _plain(ABS),
    "Clip": clip,
    "Elu": elu,
    "Exp": _plain(EXP),
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _plain(HARD_SWISH),
    "LeakyRelu": leaky_relu,
    "Neg": _plain(NEG),
    "Relu": _plain(RELU),
    "Sigmoid": _plain(SIGMOID),
    "Sqrt": _plain(SQRT),
    "Swish": swish,
    "Tanh": _plain(TANH),
}
