"""Changes of layout of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.copy import ImageCopy
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType

_INTERLEAVED = 4  # channels at most, in one block: the layout of a network's input
_FLAT_PIXELS = 4096  # larger planes give more units row by row


class ReorderMethod(StrEnum):
    INTERLEAVE = "interleave"  # plain to one small block: channels shuffled together
    BLOCK = "block"  # plain to blocks: squares of pixels and channels transposed in registers
    UNBLOCK = "unblock"  # blocks to plain, likewise
    ELEMENTS = "elements"  # any to any, one element at a time


def reorder(x: ImageBuffer, y: ImageBuffer, isa: Isa) -> Kernel:
    """The kernel that copies image `x` to image `y` of the same sizes in another layout (`Reorder`)."""
    return ImageCopy(x, y) if x.block == y.block else ImageReorder(x, y, isa)


@dataclass(frozen=True)
class ImageReorder(Kernel):
    """Copies an image to another channel block; halos may differ. See `reorder` for the general entrance.

    Padded channels of `y` are zero whatever `x` has there. Work units: rows of `y` in memory, of `x` where `y`
    is plain.
    """

    template: ClassVar[str] = "x86/templates/reorder.py.j2"

    x: ImageBuffer
    y: ImageBuffer
    isa: Isa

    def __post_init__(self) -> None:
        if self.x.type.shape != self.y.type.shape:
            raise ValueError(f"a reorder keeps the shape: {self.x} to {self.y}")
        if self.x.block == self.y.block:
            raise ValueError(f"a reorder changes the block: {self.x} to {self.y}")

    @property
    def method(self) -> ReorderMethod:
        x, y = self.x.block, self.y.block
        if x == 1 and y <= _INTERLEAVED and self.y.channels <= y:
            return ReorderMethod.INTERLEAVE
        if x == 1 and _square(y):
            return ReorderMethod.BLOCK
        if y == 1 and _square(x):
            return ReorderMethod.UNBLOCK
        return ReorderMethod.ELEMENTS

    def _images(self) -> tuple[ImageBuffer, ImageBuffer]:
        """Both images; as one row of pixels where neither has a halo and that fills the vectors better."""
        pixels = self.x.height * self.x.width
        square = self.method in (ReorderMethod.BLOCK, ReorderMethod.UNBLOCK)
        if square and not any(self.x.halo + self.y.halo) and pixels <= _FLAT_PIXELS:
            return replace(self.x, height=1, width=pixels), replace(self.y, height=1, width=pixels)
        return self.x, self.y

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (Argument("x", DType.F32, self.x.size), Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        x, y = self._images()
        if self.method is ReorderMethod.UNBLOCK:
            return x.batch * x.blocks * x.height
        return y.batch * y.blocks * y.rows

    def context(self) -> dict[str, Any]:
        x, y = self._images()
        side = max(x.block, y.block)
        half = side // 2
        lanes = self.isa.lanes
        # Vector j of a group of `lanes` pixels: for each lane the channel's vector and the pixel in it.
        flat = [[j * lanes + lane for lane in range(lanes)] for j in range(y.block)]
        return {
            "x": x,
            "y": y,
            "method": self.method.value,
            "v": Vector(y.block),
            "wide": Vector(lanes),
            "square": Vector(side),
            "side": side,
            "stages": side.bit_length() - 1,
            "low": [i // 2 + side * (i % 2) for i in range(side)],
            "high": [half + i // 2 + side * (i % 2) for i in range(side)],
            "interleaved": [[e % y.block * lanes + e // y.block for e in vector] for vector in flat],
        }


def _square(block: int) -> bool:
    return block >= 4 and block.bit_count() == 1
