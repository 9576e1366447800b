"""Converters of `QuantizeLinear` and `DequantizeLinear` (per tensor and per channel, int8 and uint8)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.ir import Operator, Value
from cnnir.ops.quantize import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, QuantizeAttrs


def _linear(op: Operator[QuantizeAttrs]) -> Converter:
    def convert(call: Call) -> Result:
        if call.int_attr("block_size", 0):
            raise call.error(f"'{call.op}' in blocks is not supported; per tensor and per axis are.")
        x = call.value(0)
        scale = call.settled(1, "scale")
        zero_point = call.settled(2, "zero point") if call.given(2) else None
        axis = call.int_attr("axis", 1)
        if scale.type.rank == 1 and scale.type.shape != (1,):
            axis = call.axis(axis, x.type.rank)
        return call.emit(op, QuantizeAttrs(axis), x, scale, _same_shape(call, zero_point, scale))

    return convert


def _same_shape(call: Call, zero_point: Value | None, scale: Value) -> Value | None:
    """Files mix scalars and `[1]` for the one scale and zero point of a tensor; the operator wants them alike."""
    if zero_point is None or zero_point.data is None or zero_point.type.shape == scale.type.shape:
        return zero_point
    array = zero_point.data.numpy()
    if array.size != 1 or scale.type.shape not in ((), (1,)):
        return zero_point
    return call.constant(np.reshape(array, scale.type.shape), zero_point.name)


CONVERTERS: Mapping[str, Converter] = {
    "DequantizeLinear": _linear(DEQUANTIZE_LINEAR),
    "QuantizeLinear": _linear(QUANTIZE_LINEAR),
}
