"""Max pooling that remembers where its maxima were, and the unpooling that puts values back there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, DType, Operator, Port, Sample, TensorType, Window
from cnnir.ir.registry import register
from cnnir.ops.pool import MAX_POOL, PoolAttrs, window_taps
from cnnir.ops.spatial import NO_PADS, Pads, Pair, check_window, image


class MaxPoolIndices(Operator[PoolAttrs]):
    """ONNX `MaxPool` with both its outputs: the maxima, and where they were.

    Shapes: x `[N, C, H, W]`, both outputs `[N, C, OH, OW]`. An index is the place of the maximum in the flattened
    input (int64), counted through batch and channels too, as ONNX defines it. Of equal maxima the first one
    counts; NaN is greater than any number.
    """

    name = "MaxPoolIndices"
    ports: ClassVar = (Port("x"),)
    attrs_type = PoolAttrs

    def infer(self, attrs: PoolAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (maxima,) = MAX_POOL.infer(attrs, inputs)
        return maxima, TensorType(DType.I64, maxima.shape)

    def reference(self, attrs: PoolAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        places = np.arange(x.size).reshape(x.shape)
        lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        taps = zip(window_taps(attrs, x, lowest), window_taps(attrs, places, -1), strict=True)
        first, place = next(taps)
        maxima, indices = first.copy(), place.copy()
        for tap, place in taps:
            # Outside the image there is no place; inside, even minus infinity beats nothing at all.
            wins = (place >= 0) & ((tap > maxima) | np.isnan(tap) | (indices < 0))
            np.copyto(maxima, tap, where=wins)
            np.copyto(indices, place, where=wins)
        return maxima, indices

    def cost(self, attrs: PoolAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        return MAX_POOL.cost(attrs, inputs, outputs)

    def window(self, attrs: PoolAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        return MAX_POOL.window(attrs, inputs)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[PoolAttrs]]:
        yield from MAX_POOL.samples(rng)
        # Equal maxima, as behind a ReLU.
        x = np.maximum(rng.standard_normal((2, 5, 6, 8), dtype=np.float32), 0)
        yield Sample(PoolAttrs((2, 2), (2, 2)), (x,))


@dataclass(frozen=True)
class MaxUnpoolAttrs(Attrs):
    """The window only tells the size of the output; see `output`."""

    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS

    def __post_init__(self) -> None:
        check_window(self.kernel_size, self.stride, (1, 1), self.pads)

    def output(self, size: Pair) -> Pair:
        """Height and width of the output: of the smallest image that such a pooling makes `size` of."""
        oh, ow = (
            (size[i] - 1) * self.stride[i] + self.kernel_size[i] - self.pads[i] - self.pads[i + 2] for i in (0, 1)
        )
        if min(oh, ow) < 1:
            raise ShapeError(f"Padding {self.pads} leaves nothing of the image that is unpooled.")
        return oh, ow


class MaxUnpool(Operator[MaxUnpoolAttrs]):
    """ONNX `MaxUnpool`: an image of zeros with the values of `x` where `indices` say.

    Shapes: x and indices `[N, C, H, W]`, output `[N, C, OH, OW]` with
    `OH = (H - 1) * stride + KH - top - bottom`. Indices count through the flattened output. Where several are
    equal, the last value stays; where one is outside the output, the reference refuses with `ShapeError`.
    """

    name = "MaxUnpool"
    ports: ClassVar = (Port("x"), Port("indices"))
    attrs_type = MaxUnpoolAttrs

    def infer(self, attrs: MaxUnpoolAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, indices = image(inputs[0], self.name), inputs[1]
        assert indices is not None
        if indices.dtype is not DType.I64 or indices.shape != x.shape:
            expected = TensorType(DType.I64, x.shape)
            raise ShapeError(f"Expected indices of type {expected} for values of type {x}, got {indices}.")
        n, c, h, w = x.shape
        return (TensorType(x.dtype, (n, c, *attrs.output((h, w)))),)

    def reference(self, attrs: MaxUnpoolAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, indices = inputs
        assert x is not None and indices is not None
        y = np.zeros((*x.shape[:2], *attrs.output((x.shape[2], x.shape[3]))), x.dtype)
        if indices.size and not 0 <= indices.min() <= indices.max() < y.size:
            raise ShapeError(f"Expected indices from 0 to {y.size - 1}, got {indices.min()} to {indices.max()}.")
        y.reshape(-1)[indices.reshape(-1)] = x.reshape(-1)
        return (y,)

    def window(self, attrs: MaxUnpoolAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        # A value may come to lie anywhere in its window, or at least up to where the next one begins.
        kernel = (max(attrs.kernel_size[0], attrs.stride[0]), max(attrs.kernel_size[1], attrs.stride[1]))
        return Window(kernel, (1, 1), (1, 1), attrs.pads[:2], attrs.stride)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[MaxUnpoolAttrs]]:
        for shape, pool in (
            ((1, 8, 8, 6), PoolAttrs((2, 2), (2, 2))),
            ((2, 17, 9, 9), PoolAttrs((3, 3), (3, 3))),
            ((1, 5, 7, 9), PoolAttrs((3, 3), (2, 2))),
            ((1, 3, 9, 7), PoolAttrs((3, 3), (2, 2), (1, 1, 1, 1))),
        ):
            maxima, indices = MAX_POOL_INDICES.reference(pool, (rng.standard_normal(shape, dtype=np.float32),))
            # Where windows overlap, one place may hold two maxima: then the values are equal, as the pool's are.
            x = maxima if pool.stride < pool.kernel_size else rng.standard_normal(maxima.shape, dtype=np.float32)
            yield Sample(MaxUnpoolAttrs(pool.kernel_size, pool.stride, pool.pads), (x, indices))


MAX_POOL_INDICES = register(MaxPoolIndices)
MAX_UNPOOL = register(MaxUnpool)
