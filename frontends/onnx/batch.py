"""Arithmetic on sizes that may contain the symbolic batch size: what `Shape` chains of exported models compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnir.ir import Array


@dataclass(frozen=True, slots=True)
class BatchSize:
    """The number `factor * N + offset`, N being the batch size.

    Arrays of sizes hold these beside plain integers as NumPy objects, so that gathering, concatenating and
    reshaping them is NumPy's work. A result that is not of this form (N * N) raises `TypeError`.
    """

    factor: int = 1
    offset: int = 0

    def __add__(self, other: object) -> BatchSize | int:
        o = _sized(other)
        return _made(self.factor + o.factor, self.offset + o.offset)

    __radd__ = __add__

    def __neg__(self) -> BatchSize | int:
        return _made(-self.factor, -self.offset)

    def __sub__(self, other: object) -> BatchSize | int:
        o = _sized(other)
        return _made(self.factor - o.factor, self.offset - o.offset)

    def __rsub__(self, other: object) -> BatchSize | int:
        o = _sized(other)
        return _made(o.factor - self.factor, o.offset - self.offset)

    def __mul__(self, other: object) -> BatchSize | int:
        o = _sized(other)
        if o.factor:
            raise TypeError("the square of the batch size is not a size that can be followed")
        return _made(self.factor * o.offset, self.offset * o.offset)

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> BatchSize | int:
        o = _sized(other)
        if o == self:
            return 1
        if o.factor or not o.offset or self.factor % o.offset or self.offset % o.offset:
            raise TypeError("the quotient depends on the batch size")
        return _made(self.factor // o.offset, self.offset // o.offset)

    def __rfloordiv__(self, other: object) -> BatchSize | int:
        raise TypeError("the quotient depends on the batch size")


def _sized(x: object) -> BatchSize:
    if isinstance(x, BatchSize):
        return x
    if isinstance(x, (int, np.integer)):
        return BatchSize(0, int(x))
    raise TypeError(f"a batch size cannot be combined with {x!r}")


def _made(factor: int, offset: int) -> BatchSize | int:
    return BatchSize(factor, offset) if factor else offset


def sizes(values: list[BatchSize | int]) -> Array:
    """A 1-D array: of int64, or of objects where one of them depends on the batch size."""
    return tidy(np.array(values, dtype=object))


def tidy(array: Array) -> Array:
    """An array of objects without any batch size in it becomes one of int64 again."""
    if array.dtype != object or any(isinstance(x, BatchSize) for x in array.flat):
        return array
    return array.astype(np.int64)
