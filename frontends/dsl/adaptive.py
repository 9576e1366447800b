"""Maxima over a given number of windows: the bins of spatial pyramid pooling."""

from __future__ import annotations

from dataclasses import dataclass

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import Size, pair
from cnnir.frontends.dsl.builder import Call
from cnnir.frontends.dsl.layer import Layer
from cnnir.frontends.dsl.tensor import Tensor
from cnnir.ops.activation import NoAttrs
from cnnir.ops.pool import GLOBAL_MAX_POOL, MAX_POOL, PoolAttrs
from cnnir.ops.shape import CONCAT, SLICE, ConcatAttrs, SliceAttrs

Windows = tuple[int, int, int, int]
"""Kernel size, stride, padding before and after, along one axis."""


@dataclass(frozen=True, eq=False)
class AdaptiveMaxPool(Layer):
    """Maximum over windows such that `size` (height, width) of them cover the image, whatever its size.

    Of n pixels, window i of m has those from floor(i n / m) up to ceil((i + 1) n / m): the bins of He et al. 2014,
    Spatial Pyramid Pooling in Deep Convolutional Networks, arXiv 1406.4729, and PyTorch's `AdaptiveMaxPool2d`.
    Where one pooling with padding has just these windows (18 or 17 pixels in 6 bins), it is one node.
    """

    size: Size

    def check(self) -> None:
        pair(self.size, "size", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        size = pair(self.size, "size", self.loc)
        if len(x.shape) != 4:
            raise CnnirError(
                f"Expected an image (N, C, H, W) as the input of 'AdaptiveMaxPool', got {x.value.type}.",
                at=self.loc,
            )
        if size == x.size:
            return x
        if size == (1, 1):
            return call.emit(GLOBAL_MAX_POOL, NoAttrs(), x)
        rows, columns = (regular_windows(n, m) for n, m in zip(x.size, size, strict=True))
        if rows is not None and columns is not None:
            kernel, stride, before, after = zip(rows, columns, strict=True)
            return call.emit(MAX_POOL, PoolAttrs(kernel, stride, (*before, *after)), x)
        return _bins(call, _bins(call, x, 2, size[0]), 3, size[1])


def bounds(pixels: int, bins: int) -> list[tuple[int, int]]:
    """Where each bin begins and ends."""
    return [(i * pixels // bins, -(-(i + 1) * pixels // bins)) for i in range(bins)]


def regular_windows(pixels: int, bins: int) -> Windows | None:
    """The pooling whose windows, cut at the image's ends, are these bins; `None` if there is none."""
    wanted = bounds(pixels, bins)
    if bins == 1:
        return pixels, 1, 0, 0
    # Only the first and the last window may be cut, so that an inner one, or both of two, tell the kernel size.
    kernel = max(stop - start for start, stop in wanted)
    before = kernel - wanted[0][1]
    for stride in {wanted[1][0] + before, wanted[1][1] - wanted[0][1]}:
        after = (bins - 1) * stride + kernel - before - pixels
        if stride < 1 or not 0 <= before < kernel or not 0 <= after < kernel:
            continue
        windows = [(i * stride - before, i * stride - before + kernel) for i in range(bins)]
        if [(max(start, 0), min(stop, pixels)) for start, stop in windows] == wanted:
            return kernel, stride, before, after
    return None


def _bins(call: Call, x: Tensor, axis: int, count: int) -> Tensor:
    """Maxima along one axis, bin by bin: a maximum over a rectangle is that of its rows' maxima."""
    if x.shape[axis] == count:
        return x
    what = "rows" if axis == 2 else "columns"
    maxima = []
    for i, (start, stop) in enumerate(bounds(x.shape[axis], count)):
        y = call.emit(SLICE, SliceAttrs((axis,), (start,), (stop,), (1,)), x, suffix=f"{what}{i}")
        kernel = (stop - start, 1) if axis == 2 else (1, stop - start)
        maxima.append(call.emit(MAX_POOL, PoolAttrs(kernel, kernel), y, suffix=f"{what}{i}.max"))
    return call.emit(CONCAT, ConcatAttrs(axis), *maxima, suffix=what)
