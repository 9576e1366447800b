"""Pooling of whole planes: global average and global max."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.kernels.pool import PoolKind
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType

_ACCUMULATORS = 4  # hide the latency of an addition


@dataclass(frozen=True)
class GlobalPool(Kernel):
    """ONNX `GlobalAveragePool` or `GlobalMaxPool` from image `x` to image `y` of one pixel.

    `y` has the block of `x`, or is plain, so that a dense layer can read it as `[N, C]`. The sum of a mean is
    taken in at most `_ACCUMULATORS` chains. Work units: channel blocks of every image.
    """

    template: ClassVar[str] = "x86/templates/global_pool.py.j2"

    x: ImageBuffer
    y: ImageBuffer
    kind: PoolKind

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if (y.batch, y.channels, y.height, y.width) != (x.batch, x.channels, 1, 1):
            raise ValueError(f"a global pool of {x} gives one pixel, not {y}")
        if y.block not in (x.block, 1) or x.block == 1:
            raise ValueError(f"expected a blocked input, and an output that is plain or alike: {x}, {y}")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (Argument("x", DType.F32, self.x.size), Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        return self.x.batch * self.x.blocks

    @property
    def flops(self) -> int:
        return self.x.batch * self.x.channels * self.x.height * self.x.width

    def context(self) -> dict[str, Any]:
        x = self.x
        # Without halo columns the rows are one run of pixels.
        height, width = (1, x.height * x.width) if x.columns == x.width else (x.height, x.width)
        return {
            "v": Vector(x.block),
            "x": x,
            "y": self.y,
            "height": height,
            "width": width,
            "average": self.kind is PoolKind.AVERAGE,
            "pixels": x.height * x.width,
            "chains": min(_ACCUMULATORS, width),
        }
