"""Linear quantisation: ONNX `QuantizeLinear` and `DequantizeLinear`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, DType, Operator, Port, Sample, TensorType
from cnnir.ir.registry import register
from cnnir.ops.axes import normal_axis


@dataclass(frozen=True)
class QuantizeAttrs(Attrs):
    """`axis` is the one that a scale of shape `[C]` runs along; a scalar scale ignores it."""

    axis: int = 1


def _check_scale(what: str, attrs: QuantizeAttrs, inputs: Sequence[TensorType | None]) -> None:
    x, scale, zero_point = inputs
    assert x is not None and scale is not None
    if not scale.dtype.is_float:
        raise ShapeError(f"'{what}' needs a floating point scale, got {scale}.")
    if scale.shape not in ((), (1,)):
        axis = normal_axis(attrs.axis, x.rank, what)
        if scale.shape != (x.shape[axis],):
            raise ShapeError(f"Expected a scale of shape [] or [{x.shape[axis]}] for axis {axis}, got {scale}.")
    if zero_point is not None and zero_point.shape != scale.shape:
        raise ShapeError(f"Expected a zero point of the shape of the scale {scale}, got {zero_point}.")


def _along(values: Array, axis: int, rank: int) -> Array:
    """A scalar as it is; `[C]` shaped to broadcast along `axis`."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = values.size
    return values.reshape(shape)


class QuantizeLinear(Operator[QuantizeAttrs]):
    """ONNX `QuantizeLinear`: `saturate(round(x / scale) + zero_point)`, halves to even.

    The zero point gives the element type, int8 or uint8; without one it is uint8 with 0.
    Shapes: x and output alike, scale and zero point `[]` or `[C]`.
    """

    name = "QuantizeLinear"
    ports: ClassVar = (Port("x"), Port("scale"), Port("zero_point", optional=True))
    attrs_type = QuantizeAttrs

    def infer(self, attrs: QuantizeAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, _, zero_point = inputs
        assert x is not None
        _check_scale(self.name, attrs, inputs)
        if not x.dtype.is_float:
            raise ShapeError(f"'{self.name}' needs a floating point input, got {x}.")
        dtype = DType.U8 if zero_point is None else zero_point.dtype
        if dtype not in (DType.I8, DType.U8):
            raise ShapeError(f"Expected a zero point of type i8 or u8, got {zero_point}.")
        return (TensorType(dtype, x.shape),)

    def reference(self, attrs: QuantizeAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, scale, zero_point = inputs
        assert x is not None and scale is not None
        dtype = np.dtype(np.uint8) if zero_point is None else zero_point.dtype
        y = np.rint(x / _along(scale, attrs.axis, x.ndim))
        if zero_point is not None:
            y = y + _along(zero_point, attrs.axis, x.ndim).astype(y.dtype)
        bounds = np.iinfo(dtype)
        return (np.clip(y, bounds.min, bounds.max).astype(dtype),)

    def cost(
        self, attrs: QuantizeAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]
    ) -> Cost:
        return Cost(flops=2 * outputs[0].size)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[QuantizeAttrs]]:
        x = rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32)
        halves = np.arange(-6, 6, dtype=np.float32).reshape(1, 12) / 2
        yield Sample(QuantizeAttrs(), (x, np.asarray(0.05, np.float32), np.asarray(3, np.int8)))
        yield Sample(QuantizeAttrs(), (x, np.asarray(0.02, np.float32), np.asarray(128, np.uint8)))
        yield Sample(QuantizeAttrs(), (halves, np.asarray(1, np.float32), np.asarray(0, np.int8)))
        yield Sample(QuantizeAttrs(), (np.abs(x), np.asarray(0.03, np.float32), None))
        scales = rng.uniform(0.01, 0.1, 3).astype(np.float32)
        yield Sample(QuantizeAttrs(1), (x, scales, np.array([0, 5, -7], np.int8)))
        yield Sample(QuantizeAttrs(0), (x[0], scales, np.array([0, 128, 255], np.uint8)))


class DequantizeLinear(Operator[QuantizeAttrs]):
    """ONNX `DequantizeLinear`: `(x - zero_point) * scale`, in the type of the scale.

    Shapes: x (i8, u8 or i32) and output alike, scale and zero point `[]` or `[C]`.
    """

    name = "DequantizeLinear"
    ports: ClassVar = (Port("x"), Port("scale"), Port("zero_point", optional=True))
    attrs_type = QuantizeAttrs

    def infer(self, attrs: QuantizeAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, scale, zero_point = inputs
        assert x is not None and scale is not None
        _check_scale(self.name, attrs, inputs)
        if x.dtype not in (DType.I8, DType.U8, DType.I32):
            raise ShapeError(f"'{self.name}' needs an input of type i8, u8 or i32, got {x}.")
        if zero_point is not None and zero_point.dtype != x.dtype:
            raise ShapeError(f"Expected a zero point of type {x.dtype}, got {zero_point}.")
        return (TensorType(scale.dtype, x.shape),)

    def reference(self, attrs: QuantizeAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, scale, zero_point = inputs
        assert x is not None and scale is not None
        y = x.astype(np.int64)
        if zero_point is not None:
            y = y - _along(zero_point, attrs.axis, x.ndim)
        return (y.astype(scale.dtype) * _along(scale, attrs.axis, x.ndim),)

    def cost(
        self, attrs: QuantizeAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]
    ) -> Cost:
        return Cost(flops=2 * outputs[0].size)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[QuantizeAttrs]]:
        signed = rng.integers(-128, 128, (2, 3, 4, 5), dtype=np.int8)
        unsigned = rng.integers(0, 256, (3, 7), dtype=np.uint8)
        scales = rng.uniform(0.01, 0.1, 3).astype(np.float32)
        yield Sample(QuantizeAttrs(), (signed, np.asarray(0.05, np.float32), np.asarray(-3, np.int8)))
        yield Sample(QuantizeAttrs(), (unsigned, np.asarray(0.05, np.float32), np.asarray(131, np.uint8)))
        yield Sample(QuantizeAttrs(), (signed, scales, None))
        yield Sample(QuantizeAttrs(0), (unsigned, scales, np.array([0, 128, 255], np.uint8)))
        accumulators = rng.integers(-(2**20), 2**20, (2, 3), dtype=np.int32)
        yield Sample(QuantizeAttrs(), (accumulators, scales, None))


QUANTIZE_LINEAR = register(QuantizeLinear)
DEQUANTIZE_LINEAR = register(DequantizeLinear)
