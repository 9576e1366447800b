"""Local response normalisation across channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType


@dataclass(frozen=True)
class Lrn(Kernel):
    """ONNX `LRN` from image `x` to image `y` of the same sizes and block; halos may differ.

    The squares of one pixel's channels lie in a scratch array with zeros on both sides, from which the windows
    are summed. Work units: rows of `y`, all channels of them.
    """

    template: ClassVar[str] = "x86/templates/lrn.py.j2"

    x: ImageBuffer
    y: ImageBuffer
    window: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if x.type.shape != y.type.shape or x.block != y.block or x.block == 1:
            raise ValueError(f"expected two blocked images alike: {x} and {y}")
        if self.window < 1:
            raise ValueError(f"expected a window of at least one channel, got {self.window}")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (Argument("x", DType.F32, self.x.size), Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        return self.y.batch * self.y.rows

    @property
    def flops(self) -> int:
        y = self.y
        return y.batch * y.channels * y.height * y.width * (self.window + 4)

    def context(self) -> dict[str, Any]:
        y = self.y
        below = (self.window - 1) // 2
        # The usual exponents without the C library's power function.
        power = {
            1.0: "base",
            0.5: "T.sqrt(base)",
            0.75: "T.sqrt(base) * T.sqrt(T.sqrt(base))",
        }.get(self.beta, f"T.pow(base, {Vector(y.block).number(self.beta)})")
        return {
            "v": Vector(y.block),
            "x": self.x,
            "y": y,
            "below": below,
            "padded": y.blocks * y.block,
            "scratch": y.blocks * y.block + self.window - 1,
            "window": self.window,
            "scale": self.alpha / self.window,
            "offset": self.bias,
            "power": power,
        }
