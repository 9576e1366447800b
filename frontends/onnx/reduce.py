"""Converters of reductions and `Softmax`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cnnir.frontends.onnx.context import Call, Converter, Result, axes_of
from cnnir.ir import BATCH, Operator
from cnnir.ops.activation import NoAttrs
from cnnir.ops.reduce import REDUCE_MAX, REDUCE_MEAN, REDUCE_SUM, SOFTMAX, ReduceAttrs, SoftmaxAttrs
from cnnir.ops.shape import IDENTITY, RESHAPE, ReshapeAttrs


def _reduce(op: Operator[ReduceAttrs], since: int) -> Converter:
    def convert(call: Call) -> Result:
        x = call.value(0)
        axes = axes_of(call, x.type.rank, since=since)
        if not axes:
            if call.flag("noop_with_empty_axes"):
                return call.emit(IDENTITY, NoAttrs(), x)
            axes = tuple(range(x.type.rank))
        if not axes:
            return call.emit(IDENTITY, NoAttrs(), x)
        return call.emit(op, ReduceAttrs(tuple(sorted(axes)), call.flag("keepdims", True)), x)

    return convert


def softmax(call: Call) -> Result:
    """Before opset 13 over all axes from `axis` (default 1) on, taken as one; since then along one axis."""
    x = call.value(0)
    shape = x.type.shape
    axis = call.axis(call.int_attr("axis", 1 if call.opset < 13 else -1), x.type.rank)
    if call.opset >= 13 or math.prod(shape[axis + 1 :]) == 1:
        return call.emit(SOFTMAX, SoftmaxAttrs(axis), x)
    # 0 copies: what comes before the axis stays, the unknown batch size too.
    if shape[axis] != BATCH and all(shape):
        flat = ReshapeAttrs((*(0,) * axis, math.prod(shape[axis:])))
        back = ReshapeAttrs((*(0,) * axis, *shape[axis:]))
        joined = call.emit(RESHAPE, flat, x, suffix="flat")
        return call.emit(RESHAPE, back, call.emit(SOFTMAX, SoftmaxAttrs(-1), joined, suffix="softmax"))
    raise call.error(f"'Softmax' over axes {axis} and following of {x.type} is not supported.")


CONVERTERS: Mapping[str, Converter] = {
    "ReduceMax": _reduce(REDUCE_MAX, 18),
    "ReduceMean": _reduce(REDUCE_MEAN, 18),
    "ReduceSum": _reduce(REDUCE_SUM, 13),
    "Softmax": softmax,
}
