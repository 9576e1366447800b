"""Concatenation: of images along channels, of plain arrays along any axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType

_PIECE = 4096  # elements that a work unit copies at most


@dataclass(frozen=True)
class ImageConcat(Kernel):
    """ONNX `Concat` along axis 1 of images of one block; halos may differ.

    Whole blocks are copied where an input begins on a block and fills it; elsewhere lanes are shifted and joined.
    Work units: rows of `y`.
    """

    template: ClassVar[str] = "x86/templates/image_concat.py.j2"

    inputs: tuple[ImageBuffer, ...]
    y: ImageBuffer

    def __post_init__(self) -> None:
        y = self.y
        same = all(
            (x.batch, x.height, x.width, x.block) == (y.batch, y.height, y.width, y.block) for x in self.inputs
        )
        if not self.inputs or not same or sum(x.channels for x in self.inputs) != y.channels:
            raise ValueError(f"{self.inputs} do not join to {y}")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        inputs = (Argument(f"x{i}", DType.F32, x.size) for i, x in enumerate(self.inputs))
        return (*inputs, Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        return self.y.batch * self.y.blocks * self.y.rows

    def context(self) -> dict[str, Any]:
        y, b = self.y, self.y.block
        v = Vector(b)
        ends = list(accumulate(x.channels for x in self.inputs))
        pieces = []
        for i, (x, end) in enumerate(zip(self.inputs, ends, strict=True)):
            begin = end - x.channels
            skipped, shift = divmod(-begin, b)

            def load(ahead: int, i: int = i, x: ImageBuffer = x) -> str:
                k = f"T.max(T.min(block + {ahead}, {x.blocks - 1}), 0)"
                return v.at(f"x{i}", f"source + {k} * {x.plane_stride} + c * {b}")

            value = (
                v.shuffle([load(skipped), load(skipped + 1)], range(shift, shift + b)) if shift else load(skipped)
            )
            if x.channels % b or shift:
                # Lanes behind belong to the next input, which writes them after, or are padding, which is zero.
                value = v.select(v.below(f"({end} - block * {b})"), value, v.zero)
            if shift:
                written = v.at("y", f"inner + c * {b}")
                value = v.select(v.below(f"({begin} - block * {b})"), written, value)
            pieces.append(
                {
                    "first": begin // b,
                    "last": -(-end // b),
                    "source": f"plane // {y.blocks} * {x.image_stride} + {x.origin} + row * {x.row_stride}",
                    "value": value,
                }
            )
        return {"v": v, "y": y, "pieces": pieces}


@dataclass(frozen=True)
class PlainConcat(Kernel):
    """ONNX `Concat` of plain arrays that differ in `axis` only. Work units: pieces of contiguous runs."""

    template: ClassVar[str] = "x86/templates/plain_concat.py.j2"

    inputs: tuple[tuple[int, ...], ...]
    axis: int
    isa: Isa

    def __post_init__(self) -> None:
        rank = len(self.inputs[0])
        if not -rank <= self.axis < rank:
            raise ValueError(f"no axis {self.axis} in {self.inputs[0]}")
        if len({self._others(shape) for shape in self.inputs}) != 1:
            raise ValueError(f"arrays of shapes {self.inputs} do not join along axis {self.axis}")

    def _others(self, shape: Sequence[int]) -> tuple[int, ...]:
        axis = self.axis % len(shape)
        return (len(shape), *shape[:axis], *shape[axis + 1 :])

    @property
    def _outer(self) -> int:
        return math.prod(self.inputs[0][: self.axis % len(self.inputs[0])])

    @property
    def _runs(self) -> list[int]:
        """Contiguous elements that each input contributes at a time."""
        return [math.prod(shape) // self._outer for shape in self.inputs]

    @property
    def arguments(self) -> tuple[Argument, ...]:
        sizes = [math.prod(shape) for shape in self.inputs]
        inputs = (Argument(f"x{i}", DType.F32, size) for i, size in enumerate(sizes))
        return (*inputs, Argument("y", DType.F32, sum(sizes), written=True))

    @property
    def units(self) -> int:
        return self._outer * sum(-(-run // _PIECE) for run in self._runs)

    def context(self) -> dict[str, Any]:
        runs = self._runs
        ends = list(accumulate(-(-run // _PIECE) for run in runs))
        return {
            "v": Vector(self.isa.lanes),
            "runs": list(zip(runs, accumulate(runs), [0, *ends], ends, strict=False)),
            "pieces": ends[-1],
            "total": sum(runs),
            "longest": _PIECE,
        }
