"""Normalisation at inference: ONNX `BatchNormalization` and `LRN`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType
from cnnir.ir.registry import register
from cnnir.ops.spatial import image


@dataclass(frozen=True)
class BatchNormAttrs(Attrs):
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if not self.epsilon >= 0:
            raise ShapeError(f"Expected an epsilon of at least 0, got {self.epsilon}.")


class BatchNorm(Operator[BatchNormAttrs]):
    """ONNX `BatchNormalization` at inference: `(x - mean) / sqrt(var + epsilon) * scale + bias` a channel.

    Shapes: x and output `[N, C, ...]`, the others `[C]`. Running statistics are no parameters.
    """

    name = "BatchNormalization"
    ports: ClassVar = (
        Port("x"),
        Port("scale", parameter=True),
        Port("bias", parameter=True),
        Port("mean"),
        Port("var"),
    )
    attrs_type = BatchNormAttrs

    def infer(self, attrs: BatchNormAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.rank < 2:
            raise ShapeError(f"'{self.name}' needs a channel axis (N, C, ...), got {x}.")
        for port, value in zip(self.ports[1:], inputs[1:], strict=True):
            assert value is not None
            if value.shape != (x.shape[1],):
                raise ShapeError(f"Expected a {port.name} of shape [{x.shape[1]}], got {value}.")
        return (x,)

    def reference(self, attrs: BatchNormAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, scale, bias, mean, var = inputs
        assert x is not None and scale is not None and bias is not None and mean is not None and var is not None
        per_channel = (-1, *(1,) * (x.ndim - 2))
        factor = (scale / np.sqrt(var + var.dtype.type(attrs.epsilon))).reshape(per_channel)
        y: Array = (x - mean.reshape(per_channel)) * factor + bias.reshape(per_channel)
        return (y.astype(x.dtype, copy=False),)

    def cost(
        self, attrs: BatchNormAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]
    ) -> Cost:
        # Two multiply-accumulates an element, normalise and then scale and shift, as the published tables count
        # it (fvcore, timm and mmpretrain: 4.35 to 4.36 GMACs for ResNet-50-D). Folding it away saves them.
        return Cost(2 * outputs[0].size, 4 * outputs[0].size)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[BatchNormAttrs]]:
        for shape, attrs in (
            ((1, 8, 5, 6), BatchNormAttrs()),
            ((2, 17, 4, 4), BatchNormAttrs(1e-3)),
            ((3, 10), BatchNormAttrs()),
        ):
            c = shape[1]
            x, scale, bias, mean = (rng.standard_normal(s, dtype=np.float32) for s in (shape, c, c, c))
            var = rng.uniform(0.1, 2, c).astype(np.float32)
            yield Sample(attrs, (x, scale, bias, mean, var))


@dataclass(frozen=True)
class LrnAttrs(Attrs):
    """Names as ONNX; `size` counts channels."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ShapeError(f"Expected a size of at least 1 channel, got {self.size}.")


class Lrn(Operator[LrnAttrs]):
    """ONNX `LRN`: `x / (bias + alpha / size * sum of squares over the neighbouring channels) ** beta`.

    The neighbours of channel c are `c - floor((size-1)/2) .. c + ceil((size-1)/2)`, cut at the ends.
    Source: AlexNet (Krizhevsky et al., 2012, section 3.3), whose alpha is ours divided by `size`.
    """

    name = "LRN"
    ports: ClassVar = (Port("x"),)
    attrs_type = LrnAttrs

    def infer(self, attrs: LrnAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        return (image(inputs[0], self.name),)

    def reference(self, attrs: LrnAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        square = np.square(x)
        total = np.zeros_like(x)
        channels = x.shape[1]
        below = (attrs.size - 1) // 2
        for c in range(channels):
            total[:, c] = square[:, max(0, c - below) : c - below + attrs.size].sum(axis=1)
        y: Array = x / (attrs.bias + attrs.alpha / attrs.size * total) ** attrs.beta
        return (y.astype(x.dtype, copy=False),)

    def cost(self, attrs: LrnAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        # Square, size-1 additions, scale and offset, power, division.
        return Cost(flops=outputs[0].size * (attrs.size + 4))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[LrnAttrs]]:
        for shape, attrs in (
            ((1, 16, 4, 5), LrnAttrs(5)),
            ((2, 7, 3, 3), LrnAttrs(3, 0.9, 0.5, 2.0)),
            ((1, 6, 3, 3), LrnAttrs(4, 1.5)),
            ((1, 3, 2, 2), LrnAttrs(9, 0.5)),
        ):
            yield Sample(attrs, (rng.standard_normal(shape, dtype=np.float32) * 2,))


BATCH_NORM = register(BatchNorm)
LRN = register(Lrn)
