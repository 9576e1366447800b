"""Sliding-window pooling on images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType
from cnnir.ops.spatial import NO_PADS, Pads, Pair

_TILE = 8  # output pixels whose accumulators are in registers at a time
_UNROLLED = 7  # wider windows run a loop over their columns


class PoolKind(StrEnum):
    MAX = "max"
    AVERAGE = "average"


@dataclass(frozen=True)
class Pool(Kernel):
    """Max or average pooling (ONNX `MaxPool`, `AveragePool`) from image `x` to image `y` of the same block.

    The output sizes are those of `y`, which decides about ceil mode too. Windows are clipped at the border, so
    the halo of `x` may be anything; padding never wins a maximum, and counts in a mean only with
    `count_include_pad`. Work units: rows of `y`.
    """

    template: ClassVar[str] = "x86/templates/pool.py.j2"

    x: ImageBuffer
    y: ImageBuffer
    kind: PoolKind
    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilation: Pair = (1, 1)
    count_include_pad: bool = False

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if (x.batch, x.channels, x.block) != (y.batch, y.channels, y.block):
            raise ValueError(f"pooling changes neither batch, channels nor block: {x} to {y}")
        for size, out, kernel, stride, before, dilation in zip(
            (x.height, x.width),
            (y.height, y.width),
            self.kernel_size,
            self.stride,
            self.pads[:2],
            self.dilation,
            strict=True,
        ):
            for window in (0, out - 1):
                at = [window * stride - before + k * dilation for k in range(kernel)]
                if not any(0 <= i < size for i in at):
                    raise ValueError(f"a window of {kernel} lies wholly outside {size} elements: {self}")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (Argument("x", DType.F32, self.x.size), Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        return self.y.batch * self.y.blocks * self.y.rows

    @property
    def flops(self) -> int:
        y = self.y
        return y.batch * y.channels * y.height * y.width * math.prod(self.kernel_size)

    def context(self) -> dict[str, Any]:
        x, y, left = self.x, self.y, self.pads[1]
        reach = (self.kernel_size[1] - 1) * self.dilation[1]
        # Output columns whose window lies wholly inside the row.
        first = min(-(-left // self.stride[1]), y.width)
        last = max(first, min(y.width, (x.width - 1 - reach + left) // self.stride[1] + 1))
        tile = _tile(last - first)
        tiles = (last - first) // tile if tile else 0
        return {
            "v": Vector(y.block),
            "x": x,
            "y": y,
            "average": self.kind is PoolKind.AVERAGE,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "pads": self.pads,
            "dilation": self.dilation,
            "count_include_pad": self.count_include_pad,
            "first": first,
            "tile": tile,
            "tiles": tiles,
            "others": y.width - tiles * tile,
            "unrolled": self.kernel_size[1] <= _UNROLLED,
            "paired": self.kind is PoolKind.MAX and 2 <= self.kernel_size[1] <= _UNROLLED,
        }


def _tile(columns: int) -> int:
    """The tile width that leaves fewest columns over, the widest of those."""
    return min(range(1, min(_TILE, columns) + 1), key=lambda t: (columns % t + (t < 4) * 2, -t), default=0)
