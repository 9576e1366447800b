"""Copies: transpose, slice and pad of plain arrays; slice and pad of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.nest import Nest, merge_axes, row_major
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType
from cnnir.ops.spatial import Pair

Span = tuple[int, int]
"""First position, and the one behind the last."""


@dataclass(frozen=True)
class PlainCopy(Kernel):
    """A contiguous array `y` of `shape`, each element from where strides say or `fill`.

    `y[i, j, ...] = x[offset + i * strides[0] + j * strides[1] + ...]` where every index lies in its span of
    `inside`, else `fill`. `source` counts the elements of `x`. Strides may be negative or zero.
    """

    template: ClassVar[str] = "x86/templates/plain_copy.py.j2"

    source: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    inside: tuple[Span, ...]
    isa: Isa
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.strides) == len(self.inside) or min(self.shape, default=1) < 1:
            raise ValueError(f"expected strides and spans for each of at least one element: {self}")
        lowest = highest = self.offset
        for size, stride, (begin, end) in zip(self.shape, self.strides, self.inside, strict=True):
            if not 0 <= begin <= end <= size:
                raise ValueError(f"the span {begin}..{end} is not inside an axis of {size}")
            if begin == end:
                return  # nothing is read
            lowest += min(begin * stride, (end - 1) * stride)
            highest += max(begin * stride, (end - 1) * stride)
        if lowest < 0 or highest >= self.source:
            raise ValueError(f"reads elements {lowest}..{highest} of {self.source}")

    @classmethod
    def transpose(cls, shape: Sequence[int], perm: Sequence[int], isa: Isa) -> PlainCopy:
        """ONNX `Transpose` of an array of `shape`."""
        if sorted(perm) != list(range(len(shape))):
            raise ValueError(f"{tuple(perm)} does not permute {len(shape)} axes")
        strides = row_major(shape)
        out = tuple(shape[p] for p in perm)
        return cls(math.prod(shape), out, tuple(strides[p] for p in perm), 0, tuple((0, d) for d in out), isa)

    @classmethod
    def slice(cls, shape: Sequence[int], slices: Sequence[slice], isa: Isa) -> PlainCopy:
        """`x[slices]` of an array of `shape`, one slice an axis, steps of any sign (ONNX `Slice`)."""
        ranges = [range(*s.indices(d)) for s, d in zip(slices, shape, strict=True)]
        steps = row_major(shape)
        return cls(
            math.prod(shape),
            tuple(len(r) for r in ranges),
            tuple(r.step * s for r, s in zip(ranges, steps, strict=True)),
            sum(r.start * s for r, s in zip(ranges, steps, strict=True)),
            tuple((0, len(r)) for r in ranges),
            isa,
        )

    @classmethod
    def pad(cls, shape: Sequence[int], pads: Sequence[int], isa: Isa, value: float = 0.0) -> PlainCopy:
        """ONNX `Pad` in mode `constant`: `pads` holds all beginnings, then all ends."""
        before, behind = pads[: len(shape)], pads[len(shape) :]
        strides = row_major(shape)
        return cls(
            math.prod(shape),
            tuple(b + d + e for b, d, e in zip(before, shape, behind, strict=True)),
            strides,
            -sum(b * s for b, s in zip(before, strides, strict=True)),
            tuple((b, b + d) for b, d in zip(before, shape, strict=True)),
            isa,
            value,
        )

    def _nest(self) -> tuple[Nest, list[int], list[Span]]:
        whole = [span == (0, size) for span, size in zip(self.inside, self.shape, strict=True)]
        sizes, (strides, _), last = merge_axes(self.shape, [self.strides, row_major(self.shape)], whole)
        spans = [
            self.inside[axis] if axis >= 0 and not whole[axis] else (0, size)
            for axis, size in zip(last, sizes, strict=True)
        ]
        nest = Nest.over(sizes, align=self.isa.lanes, whole_last=spans[-1] != (0, sizes[-1]))
        return nest, strides, spans

    @property
    def arguments(self) -> tuple[Argument, ...]:
        size = math.prod(self.shape)
        return (Argument("x", DType.F32, self.source), Argument("y", DType.F32, size, written=True))

    @property
    def units(self) -> int:
        return self._nest()[0].units

    def context(self) -> dict[str, Any]:
        nest, strides, spans = self._nest()
        conditions = []
        for i, (size, (begin, end)) in enumerate(zip(nest.sizes[:-1], spans[:-1], strict=True)):
            conditions += [f"d{i} >= {begin}"] * (begin > 0) + [f"d{i} < {end}"] * (end < size)
        return {
            "v": Vector(self.isa.lanes),
            "nest": nest,
            "source": nest.index(strides, self.offset),
            "stride": strides[-1],
            "target": nest.index(row_major(nest.sizes)),
            "condition": " and ".join(conditions),
            "span": spans[-1] if spans[-1] != (0, nest.sizes[-1]) else None,
            "length": nest.sizes[-1],
            "fill": self.fill,
            "scalar": Vector(1),
        }


@dataclass(frozen=True)
class ImageCopy(Kernel):
    """`y[n, c, i, j] = x[n, start[0] + c, start[1] + i * step[0], start[2] + j * step[1]]`, or `fill` outside `x`.

    Both images have one block; halos may differ. With `start` 0 and `step` 1 that is a copy to another halo;
    it also does ONNX `Slice` and constant `Pad` of channels, rows and columns (steps of channels excepted).
    Work units: rows of `y`.
    """

    template: ClassVar[str] = "x86/templates/image_copy.py.j2"

    x: ImageBuffer
    y: ImageBuffer
    start: tuple[int, int, int] = (0, 0, 0)
    step: Pair = (1, 1)
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.x.batch != self.y.batch or self.x.block != self.y.block:
            raise ValueError(f"expected images of one batch size and block: {self.x}, {self.y}")
        if 0 in self.step:
            raise ValueError("a slice cannot step by 0")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (Argument("x", DType.F32, self.x.size), Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        return self.y.batch * self.y.blocks * self.y.rows

    def context(self) -> dict[str, Any]:
        x, y, first = self.x, self.y, self.start[0]
        v = Vector(y.block)
        skipped, shift = divmod(first, x.block)
        lane = f"block * {x.block}"

        def load(ahead: int) -> str:
            k = f"block + {ahead}"
            if ahead < 0 or y.blocks + ahead > x.blocks:
                k = f"T.max(T.min({k}, {x.blocks - 1}), 0)"
            return v.at("x", f"source + ({k}) * {x.plane_stride} + c * {self.step[1] * x.block}")

        value = (
            v.shuffle([load(skipped), load(skipped + 1)], range(shift, shift + x.block)) if shift else load(skipped)
        )
        if first < 0:
            value = v.select(v.from_on(f"({-first} - {lane})"), value, v.number(self.fill))
        if first + y.channels > x.channels:
            value = v.select(v.below(f"({x.channels - first} - {lane})"), value, v.number(self.fill))
        outside = v.number(self.fill)
        if y.channels % y.block:
            real = v.below(f"({y.channels} - {lane})")
            value, outside = v.select(real, value, v.zero), v.select(real, outside, v.zero)
        return {
            "v": v,
            "x": x,
            "y": y,
            "step": self.step,
            "origin": x.origin + self.start[1] * x.row_stride + self.start[2] * x.block,
            "rows_inside": _inside(self.start[1], self.step[0], y.height, x.height),
            "columns_inside": _inside(self.start[2], self.step[1], y.width, x.width),
            "value": value,
            "outside": outside,
        }


def _inside(start: int, step: int, count: int, size: int) -> Span:
    """The positions i of `count` for which `start + i * step` lies in `0..size-1`."""
    inside = [i for i in range(count) if 0 <= start + i * step < size]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
