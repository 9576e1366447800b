"""Loops over plain arrays: leading axes become work units, the last one vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnnir.backends.tvm.x86.kernels.split import decode

_ENOUGH_UNITS = 16  # for eight threads to share evenly
_UNIT_ELEMENTS = 2048  # below this a unit costs more to find than to compute


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous array."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def broadcast_strides(shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides with which a contiguous array of `shape` is read as one of shape `to`; `ValueError` if impossible."""
    padded = (1,) * (len(to) - len(shape)) + tuple(shape)
    if len(padded) != len(to) or any(a not in (1, b) for a, b in zip(padded, to, strict=True)):
        raise ValueError(f"an array of shape {tuple(shape)} does not broadcast to {tuple(to)}")
    return tuple(0 if size == 1 else s for size, s in zip(padded, row_major(padded), strict=True))


def merge_axes(
    shape: Sequence[int], strides: Sequence[Sequence[int]], whole: Sequence[bool] | None = None
) -> tuple[list[int], list[list[int]], list[int]]:
    """The fewest axes that walk the same elements in the same order for every operand.

    `strides` holds one sequence an operand. Axes of one element go (the first stays if all are), neighbours that
    every operand steps through as if they were one are merged. An axis whose `whole` is false is left alone.
    Returns sizes, strides, and for each new axis the last of the old axes that it stands for.
    """
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    last: list[int] = []
    mergeable: list[bool] = []
    for axis, size in enumerate(shape):
        free = whole is None or whole[axis]
        if size == 1 and free:
            continue
        here = [operand[axis] for operand in strides]
        if sizes and free and mergeable[-1] and all(s[-1] == h * size for s, h in zip(steps, here, strict=True)):
            sizes[-1] *= size
            last[-1] = axis
            for s, h in zip(steps, here, strict=True):
                s[-1] = h
            continue
        sizes.append(size)
        last.append(axis)
        mergeable.append(free)
        for s, h in zip(steps, here, strict=True):
            s.append(h)
    if not sizes:
        return [1], [[0] for _ in strides], [len(shape) - 1]
    return sizes, steps, last


@dataclass(frozen=True)
class Nest:
    """Loops over `sizes`: the first `split` axes and chunks of the last one make the work units.

    In TVMScript the position on axis i is `d{i}`; the last axis is left to the caller, who covers
    `start..start+count`.
    """

    sizes: tuple[int, ...]
    split: int
    chunk: int

    @classmethod
    def over(cls, sizes: Sequence[int], *, align: int = 1, whole_last: bool = False) -> Nest:
        """As many units as threads can share, but not tiny ones; chunks are multiples of `align`."""
        *leading, last = sizes
        split, units = 0, 1
        while split < len(leading) and (units < _ENOUGH_UNITS or math.prod(sizes[split:]) > 4 * _UNIT_ELEMENTS):
            units *= leading[split]
            split += 1
        chunk = last
        if split == len(leading) and not whole_last and last > _UNIT_ELEMENTS:
            pieces = max(-(-_ENOUGH_UNITS // units), -(-last // (4 * _UNIT_ELEMENTS)))
            chunk = max(-(-last // pieces), _UNIT_ELEMENTS // 2)
            chunk = min(last, -(-chunk // align) * align)
        return cls(tuple(sizes), split, chunk)

    @property
    def chunks(self) -> int:
        return -(-self.sizes[-1] // self.chunk)

    @property
    def units(self) -> int:
        return math.prod(self.sizes[: self.split]) * self.chunks

    @property
    def lines(self) -> list[str]:
        """Statements that decode the unit `lo + u`, then one `for` statement that opens the inner loops."""
        axes = [(f"d{i}", self.sizes[i]) for i in range(self.split)] + [("piece", self.chunks)]
        lines = [f"{name}: T.let = {value}" for name, value in decode("(lo + u)", axes)]
        last = self.sizes[-1]
        lines.append(f"start: T.let = piece * {self.chunk}")
        even = last % self.chunk == 0
        lines.append(f"count: T.let = {self.chunk if even else f'T.min({self.chunk}, {last} - start)'}")
        inner = range(self.split, len(self.sizes) - 1)
        names = ", ".join(f"d{i}" for i in inner) or "once"
        extents = ", ".join(str(self.sizes[i]) for i in inner) or "1"
        lines.append(f"for {names} in T.grid({extents}):")
        return lines

    def index(self, strides: Sequence[int], offset: int = 0) -> str:
        """The offset of an operand at the beginning of the last axis."""
        terms = [f"d{i} * {s}" for i, s in enumerate(strides[:-1]) if s]
        return " + ".join([*terms, str(offset)] if offset or not terms else terms)
