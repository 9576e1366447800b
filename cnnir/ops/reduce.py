"""Reductions along axes, and softmax: ONNX `ReduceMean`, `ReduceSum`, `ReduceMax`, `Softmax`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType, Window
from cnnir.ir.registry import register
from cnnir.ops.axes import check_distinct, normal_axes, normal_axis, refuse_batch, window_along


@dataclass(frozen=True)
class ReduceAttrs(Attrs):
    """`axes` may count from the end; `keepdims` leaves each as an axis of length 1."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def __post_init__(self) -> None:
        check_distinct(self.axes, "axes")


class ReduceOperator(Operator[ReduceAttrs]):
    """One number for all elements along some axes."""

    ports: ClassVar[tuple[Port, ...]] = (Port("x"),)
    attrs_type = ReduceAttrs

    def formula(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        raise NotImplementedError

    def infer(self, attrs: ReduceAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (x,) = inputs
        assert x is not None
        axes = normal_axes(attrs.axes, x.rank, self.name)
        refuse_batch(x, axes[0], f"'{self.name}' along")
        kept = [1 if i in axes else d for i, d in enumerate(x.shape)]
        shape = kept if attrs.keepdims else [d for i, d in enumerate(x.shape) if i not in axes]
        return (TensorType(x.dtype, tuple(shape)),)

    def reference(self, attrs: ReduceAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        axes = normal_axes(attrs.axes, x.ndim, self.name)
        y = np.asarray(self.formula(x, axes, attrs.keepdims))
        return (y.astype(x.dtype, copy=False),)

    def cost(self, attrs: ReduceAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        (x,) = inputs
        assert x is not None
        return Cost(flops=x.size)

    def window(self, attrs: ReduceAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        (x,) = inputs
        assert x is not None
        return window_along(x, normal_axes(attrs.axes, x.rank, self.name))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[ReduceAttrs]]:
        cases: tuple[tuple[tuple[int, ...], ReduceAttrs], ...] = (
            ((1, 16, 5, 7), ReduceAttrs((2, 3))),
            ((2, 5, 4, 4), ReduceAttrs((-1, -2), keepdims=False)),
            ((2, 5, 4, 4), ReduceAttrs((1,))),
            ((2, 6, 3), ReduceAttrs((-1,), keepdims=False)),
            ((3, 10), ReduceAttrs((1,), keepdims=False)),
        )
        for shape, attrs in cases:
            yield Sample(attrs, (rng.standard_normal(shape, dtype=np.float32) + 1,))


def _reduce(operator_name: str, of: Callable[..., Array]) -> ReduceOperator:
    class Reduce(ReduceOperator):
        name = operator_name

        def formula(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
            return of(x, axis=axes, keepdims=keepdims)

    Reduce.__name__ = operator_name
    return register(Reduce)


REDUCE_MEAN = _reduce("ReduceMean", np.mean)
REDUCE_SUM = _reduce("ReduceSum", np.sum)
REDUCE_MAX = _reduce("ReduceMax", np.max)


@dataclass(frozen=True)
class SoftmaxAttrs(Attrs):
    axis: int = -1


class Softmax(Operator[SoftmaxAttrs]):
    """ONNX `Softmax` (opset 13 on: along one axis). The maximum is subtracted first, so nothing overflows."""

    name = "Softmax"
    ports: ClassVar = (Port("x"),)
    attrs_type = SoftmaxAttrs

    def infer(self, attrs: SoftmaxAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (x,) = inputs
        assert x is not None
        refuse_batch(x, normal_axis(attrs.axis, x.rank, self.name), "'Softmax' along")
        return (x,)

    def reference(self, attrs: SoftmaxAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        e = np.exp(x - x.max(axis=attrs.axis, keepdims=True))
        return ((e / e.sum(axis=attrs.axis, keepdims=True)).astype(x.dtype, copy=False),)

    def cost(self, attrs: SoftmaxAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        # Maximum, difference, exponential, sum, division.
        return Cost(flops=5 * outputs[0].size)

    def window(self, attrs: SoftmaxAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        (x,) = inputs
        assert x is not None
        return window_along(x, [normal_axis(attrs.axis, x.rank, self.name)])

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[SoftmaxAttrs]]:
        cases: tuple[tuple[tuple[int, ...], int, float], ...] = (
            ((1, 1000), -1, 3.0),
            ((3, 10), 1, 200.0),
            ((2, 5, 3, 4), 1, 3.0),
            ((2, 5, 3), -1, 1.0),
        )
        for shape, axis, spread in cases:
            yield Sample(SoftmaxAttrs(axis), (rng.standard_normal(shape, dtype=np.float32) * np.float32(spread),))


SOFTMAX = register(Softmax)
