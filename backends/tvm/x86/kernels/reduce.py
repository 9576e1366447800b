"""Reductions of plain arrays over any axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.nest import row_major
from cnnir.backends.tvm.x86.kernels.split import decode
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType

_CHAINS = 4  # accumulators that hide the latency of an addition


class ReduceKind(StrEnum):
    SUM = "sum"
    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True)
class Reduce(Kernel):
    """ONNX `ReduceSum`, `ReduceMean` or `ReduceMax` of a plain array over `axes`; `y` is plain, axes of 1 or gone.

    If the last axis is reduced, vectors run along it, in at most `_CHAINS * lanes` partial results; if it stays,
    vectors hold neighbouring results. Work units: results, or groups of `lanes` of them.
    """

    template: ClassVar[str] = "x86/templates/reduce.py.j2"

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    kind: ReduceKind
    isa: Isa

    def __post_init__(self) -> None:
        rank = len(self.shape)
        if any(not -rank <= axis < rank for axis in self.axes):
            raise ValueError(f"no axes {self.axes} in {self.shape}")

    @property
    def _axes(self) -> list[tuple[int, bool]]:
        """Size of each axis and whether it is reduced; neighbours of a kind merged, the last one always there."""
        rank = len(self.shape)
        reduced = {axis % rank for axis in self.axes}
        merged: list[tuple[int, bool]] = []
        for i, size in enumerate(self.shape):
            if size == 1:
                continue
            if merged and merged[-1][1] == (i in reduced):
                merged[-1] = (merged[-1][0] * size, merged[-1][1])
            else:
                merged.append((size, i in reduced))
        return merged or [(1, False)]

    @property
    def _last_stays(self) -> bool:
        return not self._axes[-1][1]

    @property
    def _groups(self) -> int:
        """Groups of results on the last axis, if it stays."""
        return -(-self._axes[-1][0] // self.isa.lanes) if self._last_stays else 1

    @property
    def results(self) -> int:
        return math.prod(size for size, reduced in self._axes if not reduced)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (
            Argument("x", DType.F32, math.prod(self.shape)),
            Argument("y", DType.F32, self.results, written=True),
        )

    @property
    def units(self) -> int:
        return math.prod(size for size, reduced in self._axes[:-1] if not reduced) * self._groups

    @property
    def flops(self) -> int:
        return math.prod(self.shape)

    def context(self) -> dict[str, Any]:
        axes = self._axes
        strides = row_major([size for size, _ in axes])
        outer = list(range(len(axes) - 1))
        stay = [i for i in outer if not axes[i][1]]
        loops = [i for i in outer if axes[i][1]]
        coordinates = decode("(lo + u)", [(f"d{i}", axes[i][0]) for i in stay] + [("group", self._groups)])
        return {
            "v": Vector(self.isa.lanes),
            "coordinates": coordinates,
            "begin": " + ".join([f"d{i} * {strides[i]}" for i in stay] or ["0"]),
            "inner": " + ".join([f"d{i} * {strides[i]}" for i in loops] or ["0"]),
            "names": ", ".join(f"d{i}" for i in loops) or "once",
            "extents": ", ".join(str(axes[i][0]) for i in loops) or "1",
            "last_stays": self._last_stays,
            "last": axes[-1][0],
            "groups": self._groups,
            "chains": min(_CHAINS, max(1, axes[-1][0] // self.isa.lanes)),
            "largest": self.kind is ReduceKind.MAX,
            "factor": self.results / math.prod(self.shape) if self.kind is ReduceKind.MEAN else None,
        }
