"""Max pooling with indices on images, and the unpooling that belongs to it.

In memory an index is a float32 that counts the pixels of its own plane, row by row: exact up to 2^24 of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType
from cnnir.ops.spatial import NO_PADS, Pads, Pair

_MOST_PIXELS = 1 << 24
"""Of a plane: more cannot be told apart in float32."""

_MOST_UNROLLED = 9


def _check(image: ImageBuffer, pooled: ImageBuffer, indices: ImageBuffer) -> None:
    if (image.batch, image.channels, image.block) != (pooled.batch, pooled.channels, pooled.block):
        raise ValueError(f"pooling changes neither batch, channels nor block: {image} and {pooled}")
    same = (pooled.batch, pooled.channels, pooled.height, pooled.width, pooled.block, NO_PADS)
    if (indices.batch, indices.channels, indices.height, indices.width, indices.block, indices.halo) != same:
        raise ValueError(f"the indices {indices} do not fit {pooled}")
    if image.height * image.width > _MOST_PIXELS:
        raise ValueError(f"a plane of {image.height}x{image.width} has more than {_MOST_PIXELS} pixels")


@dataclass(frozen=True)
class PoolIndices(Kernel):
    """ONNX `MaxPool` with indices, from image `x` to images `y` and `indices`, the latter without halo.

    Windows are clipped at the border. Of equal maxima the first one counts, of several NaN the last.
    Work units: rows of `y`.
    """

    template: ClassVar[str] = "x86/templates/pool_indices.py.j2"

    x: ImageBuffer
    y: ImageBuffer
    indices: ImageBuffer
    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        _check(self.x, self.y, self.indices)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (
            Argument("x", DType.F32, self.x.size),
            Argument("y", DType.F32, self.y.size, written=True),
            Argument("indices", DType.F32, self.indices.size, written=True),
        )

    @property
    def units(self) -> int:
        return self.y.batch * self.y.blocks * self.y.rows

    @property
    def flops(self) -> int:
        y = self.y
        return y.batch * y.channels * y.height * y.width * math.prod(self.kernel_size)

    @property
    def _is_inside(self) -> bool:
        """Whether no window reaches over the border."""
        ends = [
            (out - 1) * stride + (kernel - 1) * dilation < size
            for out, stride, kernel, dilation, size in zip(
                (self.y.height, self.y.width),
                self.stride,
                self.kernel_size,
                self.dilation,
                (self.x.height, self.x.width),
                strict=True,
            )
        ]
        return all(ends) and not any(self.pads[:2])

    def context(self) -> dict[str, Any]:
        inside = self._is_inside
        return {
            "v": Vector(self.y.block),
            "x": self.x,
            "y": self.y,
            "indices": self.indices,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "pads": self.pads,
            "dilation": self.dilation,
            "inside": inside,
            "loop": "unroll" if inside and math.prod(self.kernel_size) <= _MOST_UNROLLED else "serial",
        }


@dataclass(frozen=True)
class Unpool(Kernel):
    """ONNX `MaxUnpool` of images `x` and `indices` to image `y`, for indices that the pooling gave from an image of
    the size of `y`.

    Each output pixel looks at the few windows that hold it, so that rows can be computed side by side. Where
    several windows name the same pixel, the last one counts. Work units: rows of `y`.
    """

    template: ClassVar[str] = "x86/templates/unpool.py.j2"

    x: ImageBuffer
    indices: ImageBuffer
    y: ImageBuffer
    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        _check(self.y, self.x, self.indices)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (
            Argument("x", DType.F32, self.x.size),
            Argument("indices", DType.F32, self.indices.size),
            Argument("y", DType.F32, self.y.size, written=True),
        )

    @property
    def units(self) -> int:
        return self.y.batch * self.y.blocks * self.y.rows

    @property
    def _is_tiled(self) -> bool:
        """Whether the windows lie side by side inside the image, each pixel in one at most."""
        covered = self.x.height * self.stride[0], self.x.width * self.stride[1]
        fits = covered[0] <= self.y.height and covered[1] <= self.y.width
        extent = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        return fits and not any(self.pads[:2]) and extent[0] <= self.stride[0] and extent[1] <= self.stride[1]

    def context(self) -> dict[str, Any]:
        return {
            "v": Vector(self.y.block),
            "x": self.x,
            "indices": self.indices,
            "y": self.y,
            "reach": [(k - 1) * d for k, d in zip(self.kernel_size, self.dilation, strict=True)],
            "stride": self.stride,
            "pads": self.pads,
            "tiled": self._is_tiled,
        }
