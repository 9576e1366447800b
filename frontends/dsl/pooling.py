"""Pooling layers."""

from __future__ import annotations

from dataclasses import dataclass

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import Padding, Size, check_padding, flag, pads, pair
from cnnir.frontends.dsl.builder import Call
from cnnir.frontends.dsl.layer import Layer
from cnnir.frontends.dsl.tensor import Tensor
from cnnir.ops.activation import NoAttrs
from cnnir.ops.pool import (
    AVERAGE_POOL,
    GLOBAL_AVERAGE_POOL,
    GLOBAL_MAX_POOL,
    MAX_POOL,
    AveragePoolAttrs,
    PoolAttrs,
)
from cnnir.ops.shape import CONCAT, SLICE, ConcatAttrs, SliceAttrs
from cnnir.ops.spatial import Pads, Pair

_HINT = "Use a smaller window, more padding, or a larger input image."


@dataclass(frozen=True, eq=False)
class MaxPool(Layer):
    """Maximum over windows. `stride` is the kernel size unless given.

    With `ceil_mode` the last window may hang over the end (PyTorch's rule: it begins inside the image or its
    leading padding).
    """

    kernel_size: Size
    stride: Size | None = None
    padding: Padding = 0
    dilation: Size = 1
    ceil_mode: bool = False

    def check(self) -> None:
        _check_window(self)
        pair(self.dilation, "dilation", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        dilation = pair(self.dilation, "dilation", self.loc)
        kernel, stride, border = _window(self, x, dilation)
        return call.emit(MAX_POOL, PoolAttrs(kernel, stride, border, dilation, self.ceil_mode), x, hints=[_HINT])


@dataclass(frozen=True, eq=False)
class AvgPool(Layer):
    """Mean over windows; arguments as `MaxPool`'s.

    The zeros of the padding take part in the mean with `count_include_pad` (as in PyTorch unless told otherwise),
    but never with padding "same" (as in TensorFlow).
    """

    kernel_size: Size
    stride: Size | None = None
    padding: Padding = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def check(self) -> None:
        _check_window(self)
        flag(self.count_include_pad, "count_include_pad", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        kernel, stride, border = _window(self, x, (1, 1))
        include = self.count_include_pad and self.padding != "same" and any(border)
        attrs = AveragePoolAttrs(kernel, stride, border, ceil_mode=self.ceil_mode, count_include_pad=include)
        return call.emit(AVERAGE_POOL, attrs, x, hints=[_HINT])


@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Layer):
    """Mean over each plane, `[N, C, H, W]` -> `[N, C, 1, 1]`."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(GLOBAL_AVERAGE_POOL, NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class GlobalMaxPool(Layer):
    """Maximum over each plane, `[N, C, H, W]` -> `[N, C, 1, 1]`."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(GLOBAL_MAX_POOL, NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class AdaptiveAvgPool(Layer):
    """Mean over windows such that `size` (height, width) of them cover the image, whatever its size.

    Of n pixels, window i of m has those from floor(i n / m) up to ceil((i + 1) n / m), as in PyTorch: equal tiles
    where m divides n, otherwise windows that overlap and differ in size, which takes a few nodes for each. An
    image that has the size already passes unchanged.
    """

    size: Size

    def check(self) -> None:
        pair(self.size, "size", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        size = pair(self.size, "size", self.loc)
        if size == x.size:
            return x
        if size == (1, 1):
            return call.emit(GLOBAL_AVERAGE_POOL, NoAttrs(), x)
        (h, w), (oh, ow) = x.size, size
        if h % oh == 0 and w % ow == 0:
            window = (h // oh, w // ow)
            return call.emit(AVERAGE_POOL, AveragePoolAttrs(window, window), x)
        return _adapt(call, _adapt(call, x, 2, oh), 3, ow)


def _adapt(call: Call, x: Tensor, axis: int, count: int) -> Tensor:
    """Means over `count` windows along one axis: a mean over a rectangle is that of its rows' means."""
    n = x.shape[axis]
    if n == count:
        return x
    bounds = [(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
    means = []
    for i, (start, stop) in enumerate(bounds):
        part = "rows" if axis == 2 else "columns"
        y = call.emit(SLICE, SliceAttrs((axis,), (start,), (stop,), (1,)), x, suffix=f"{part}{i}")
        kernel = (stop - start, 1) if axis == 2 else (1, stop - start)
        means.append(call.emit(AVERAGE_POOL, AveragePoolAttrs(kernel, kernel), y, suffix=f"{part}{i}.mean"))
    return call.emit(CONCAT, ConcatAttrs(axis), *means, suffix="rows" if axis == 2 else "columns")


def _check_window(layer: MaxPool | AvgPool) -> None:
    pair(layer.kernel_size, "kernel_size", layer.loc)
    if layer.stride is not None:
        pair(layer.stride, "stride", layer.loc)
    check_padding(layer.padding, "padding", layer.loc)
    flag(layer.ceil_mode, "ceil_mode", layer.loc)


def _window(layer: MaxPool | AvgPool, x: Tensor, dilation: Pair) -> tuple[Pair, Pair, Pads]:
    if len(x.shape) != 4:
        raise CnnirError(
            f"Expected an image (N, C, H, W) as the input of '{type(layer).__name__}', got {x.value.type}.",
            at=layer.loc,
        )
    kernel = pair(layer.kernel_size, "kernel_size", layer.loc)
    stride = kernel if layer.stride is None else pair(layer.stride, "stride", layer.loc)
    return kernel, stride, pads(layer.padding, x.size, kernel, stride, dilation)
