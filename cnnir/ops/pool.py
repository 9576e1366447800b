"""Pooling: ONNX `MaxPool`, `AveragePool`, `GlobalAveragePool`, `GlobalMaxPool`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType, Window
from cnnir.ir.registry import register
from cnnir.ops.activation import NoAttrs
from cnnir.ops.axes import whole_plane
from cnnir.ops.spatial import NO_PADS, Pads, Pair, check_window, image, output_size, pad_image


@dataclass(frozen=True)
class PoolAttrs(Attrs):
    """`pads` in ONNX order (top, left, bottom, right); `ceil_mode` as `cnnir.ops.spatial.output_size` says."""

    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        check_window(self.kernel_size, self.stride, self.dilation, self.pads)

    def output(self, size: Pair) -> Pair:
        """Height and width of the output for an input of that height and width."""
        (oh, _), (ow, _) = (self._axis(size, axis) for axis in (0, 1))
        return oh, ow

    def counts(self, size: Pair, *, pads_too: bool) -> Array:
        """Elements `[OH, OW]` that each window has inside the image, or inside image and padding.

        What hangs over the padding in ceil mode never counts.
        """
        rows, columns = (self._axis(size, axis, pads_too=pads_too)[1] for axis in (0, 1))
        return np.outer(rows, columns)

    def _axis(self, size: Pair, axis: int, *, pads_too: bool = False) -> tuple[int, Array]:
        kernel, stride, dilation = self.kernel_size[axis], self.stride[axis], self.dilation[axis]
        before, after = self.pads[axis], self.pads[axis + 2]
        out = output_size(size[axis], kernel, stride, dilation, before, after, ceil=self.ceil_mode)
        at = np.arange(out)[:, None] * stride + np.arange(kernel)[None, :] * dilation - before
        inside = ((at >= 0) & (at < size[axis])).sum(axis=1)
        if not inside.all():
            raise ShapeError(
                f"A pooling window lies wholly in the padding: input {size[axis]} with padding {before}+{after}, "
                f"kernel {kernel}, stride {stride}{f', dilation {dilation}' if dilation > 1 else ''}."
            )
        return out, ((at >= -before) & (at < size[axis] + after)).sum(axis=1) if pads_too else inside


@dataclass(frozen=True)
class AveragePoolAttrs(PoolAttrs):
    """With `count_include_pad` the zeros of the padding take part in the mean."""

    count_include_pad: bool = False


def window_taps(attrs: PoolAttrs, x: Array, fill: Any) -> Iterator[Array]:
    """For every element of the window: what the windows `[N, C, OH, OW]` have there, `fill` outside the image."""
    h, w = x.shape[2:]
    out = attrs.output((h, w))
    (kh, kw), (sh, sw), (dh, dw) = attrs.kernel_size, attrs.stride, attrs.dilation
    top, left = attrs.pads[:2]
    reach = [
        (o - 1) * s + d * (k - 1) + 1
        for o, s, d, k in zip(out, attrs.stride, attrs.dilation, (kh, kw), strict=True)
    ]
    x = pad_image(x, (top, left, max(0, reach[0] - top - h), max(0, reach[1] - left - w)), fill)
    for i, j in itertools.product(range(kh), range(kw)):
        yield x[:, :, i * dh :, j * dw :][:, :, : (out[0] - 1) * sh + 1 : sh, : (out[1] - 1) * sw + 1 : sw]


def _lowest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _max_of(values: Iterator[Array]) -> Array:
    result = next(values).copy()
    for value in values:
        np.maximum(result, value, out=result)  # propagates NaN
    return result


class _Pool(Operator[Any]):
    """What both sliding pools share. Shapes: x `[N, C, H, W]`, output `[N, C, OH, OW]`."""

    ports: ClassVar = (Port("x"),)

    def infer(self, attrs: PoolAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = image(inputs[0], self.name)
        n, c, h, w = x.shape
        return (TensorType(x.dtype, (n, c, *attrs.output((h, w)))),)

    def window(self, attrs: PoolAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        return Window(attrs.kernel_size, attrs.stride, attrs.dilation, attrs.pads[:2])


_SHAPES_AND_ATTRS: tuple[tuple[tuple[int, ...], PoolAttrs], ...] = (
    ((1, 8, 8, 8), PoolAttrs((2, 2), (2, 2))),
    ((2, 16, 9, 7), PoolAttrs((3, 3), (2, 2), (1, 1, 1, 1))),
    ((1, 5, 7, 7), PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1))),
    ((1, 16, 8, 8), PoolAttrs((3, 3), (2, 2), (0, 0, 1, 1))),
    ((1, 16, 8, 10), PoolAttrs((3, 3), (2, 2), ceil_mode=True)),
    ((1, 3, 6, 7), PoolAttrs((2, 3), (2, 3), (1, 1, 1, 1), ceil_mode=True)),
    ((1, 17, 12, 6), PoolAttrs((5, 1), (3, 2), (2, 0, 2, 0))),
    ((1, 4, 11, 11), PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1), dilation=(2, 2))),
    ((1, 32, 13, 13), PoolAttrs((13, 13))),
    ((1, 4, 3, 3), PoolAttrs((1, 1), (2, 2))),
)


class MaxPool(_Pool):
    """ONNX `MaxPool` (with its indices it is `cnnir.ops.unpool.MAX_POOL_INDICES`). Padding never wins; NaN does."""

    name = "MaxPool"
    attrs_type = PoolAttrs

    def reference(self, attrs: PoolAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (_max_of(window_taps(attrs, x, _lowest(x.dtype))),)

    def cost(self, attrs: PoolAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        return Cost(flops=outputs[0].size * (attrs.kernel_size[0] * attrs.kernel_size[1] - 1))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[PoolAttrs]]:
        for shape, attrs in _SHAPES_AND_ATTRS:
            # Below zero throughout: a padding of zeros would show.
            yield Sample(attrs, (rng.standard_normal(shape, dtype=np.float32) - 5,))


class AveragePool(_Pool):
    """ONNX `AveragePool` (opset 19 on: in ceil mode, what hangs over the padding does not count)."""

    name = "AveragePool"
    attrs_type = AveragePoolAttrs

    def reference(self, attrs: AveragePoolAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        taps = window_taps(attrs, x, 0)
        total = next(taps).copy()
        for tap in taps:
            total += tap
        count = attrs.counts((x.shape[2], x.shape[3]), pads_too=attrs.count_include_pad)
        return ((total / count.astype(x.dtype)).astype(x.dtype, copy=False),)

    def cost(
        self, attrs: AveragePoolAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]
    ) -> Cost:
        return Cost(flops=outputs[0].size * attrs.kernel_size[0] * attrs.kernel_size[1])

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[AveragePoolAttrs]]:
        for shape, a in _SHAPES_AND_ATTRS:
            for include in (False, True) if any(a.pads) else (False,):
                attrs = AveragePoolAttrs(a.kernel_size, a.stride, a.pads, a.dilation, a.ceil_mode, include)
                yield Sample(attrs, (rng.standard_normal(shape, dtype=np.float32) + 1,))


class _GlobalPool(Operator[NoAttrs]):
    """What both global pools share. Shapes: x `[N, C, H, W]`, output `[N, C, 1, 1]`."""

    ports: ClassVar = (Port("x"),)
    attrs_type = NoAttrs

    def infer(self, attrs: NoAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = image(inputs[0], self.name)
        return (TensorType(x.dtype, (*x.shape[:2], 1, 1)),)

    def cost(self, attrs: NoAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        (x,) = inputs
        assert x is not None
        return Cost(flops=x.size)

    def window(self, attrs: NoAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        return whole_plane(image(inputs[0], self.name))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[NoAttrs]]:
        for shape in ((1, 16, 7, 7), (2, 5, 3, 4), (1, 3, 1, 1), (1, 33, 9, 8)):
            yield Sample(NoAttrs(), (rng.standard_normal(shape, dtype=np.float32) - 2,))


class GlobalAveragePool(_GlobalPool):
    """ONNX `GlobalAveragePool`."""

    name = "GlobalAveragePool"

    def reference(self, attrs: NoAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (x.mean(axis=(2, 3), keepdims=True, dtype=x.dtype),)


class GlobalMaxPool(_GlobalPool):
    """ONNX `GlobalMaxPool`."""

    name = "GlobalMaxPool"

    def reference(self, attrs: NoAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (x.max(axis=(2, 3), keepdims=True),)


MAX_POOL = register(MaxPool)
AVERAGE_POOL = register(AveragePool)
GLOBAL_AVERAGE_POOL = register(GlobalAveragePool)
GLOBAL_MAX_POOL = register(GlobalMaxPool)
