"""Fully connected layer (ONNX `Gemm` with `transB=1`), with an optional activation as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType
from cnnir.ir.registry import register
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.axes import same_dtype


@dataclass(frozen=True)
class DenseAttrs(Attrs):
    """`activation` is applied after the bias."""

    activation: Activation | None = None


class Dense(Operator[DenseAttrs]):
    """ONNX `Gemm` with `transB=1`, plus optional activation.

    Shapes: x `[N, K]`, weight `[O, K]`, bias `[O]`, output `[N, O]`.
    """

    name = "Gemm"
    ports: ClassVar = (
        Port("x"),
        Port("weight", parameter=True),
        Port("bias", optional=True, parameter=True),
    )
    attrs_type = DenseAttrs

    def infer(self, attrs: DenseAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weight, bias = inputs
        assert x is not None and weight is not None
        if x.rank != 2:
            raise ShapeError(f"'Gemm' needs a 2-D input (N, K), got {x}.")
        if weight.rank != 2 or weight.shape[1] != x.shape[1]:
            raise ShapeError(f"Expected a weight of shape [O,{x.shape[1]}], got {weight}.")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ShapeError(f"Expected a bias of shape [{weight.shape[0]}], got {bias}.")
        same_dtype(self.name, x, weight)
        return (TensorType(x.dtype, (x.shape[0], weight.shape[0])),)

    def reference(self, attrs: DenseAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, weight, bias = inputs
        assert x is not None and weight is not None
        y: Array = x @ weight.T
        if bias is not None:
            y = y + bias
        return (y if attrs.activation is None else attrs.activation(y),)

    def cost(self, attrs: DenseAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        weight = inputs[1]
        assert weight is not None
        out = outputs[0].size
        macs = out * weight.shape[1]
        return Cost(macs, 2 * macs + out * ((inputs[2] is not None) + (attrs.activation is not None)))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[DenseAttrs]]:
        relu = Activation(ActivationKind.RELU)
        for n, k, o, with_bias, activation in (
            (1, 64, 10, True, None),
            (3, 37, 50, True, relu),
            (1, 256, 1000, False, None),
            (2, 1, 1, True, None),
        ):
            x = rng.standard_normal((n, k), dtype=np.float32)
            weight = rng.standard_normal((o, k), dtype=np.float32) / np.float32(np.sqrt(k))
            bias = rng.standard_normal(o, dtype=np.float32) if with_bias else None
            yield Sample(DenseAttrs(activation), (x, weight, bias))


DENSE = register(Dense)
