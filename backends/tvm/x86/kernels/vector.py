"""TVMScript text of vector operations, one place for their spelling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vector:
    """Writes expressions of `lanes` float32 values; one lane is a scalar. Indices are TVMScript expressions.

    Masks are written in place: TVM cannot bind a vector of booleans to a name.
    """

    lanes: int

    def at(self, buffer: str, index: object, step: int = 1) -> str:
        """The elements of `buffer` from `index` on, `step` apart: to be read or assigned."""
        return f"{buffer}[{index}]" if self.lanes == 1 else f"{buffer}[T.ramp({index}, {step}, {self.lanes})]"

    def splat(self, scalar: object) -> str:
        """A scalar expression in every lane."""
        return str(scalar) if self.lanes == 1 else f"T.broadcast({scalar}, {self.lanes})"

    def number(self, value: float) -> str:
        """A constant in every lane."""
        literal = repr(float(value))
        return self.splat(f"T.float32({literal})" if literal[-1].isdigit() else f"T.float32('{literal}')")

    @property
    def zero(self) -> str:
        return self.number(0.0)

    @property
    def lowest(self) -> str:
        """Where a maximum begins."""
        return self.number(-math.inf)

    def below(self, count: object) -> str:
        """Condition: the lane's number is below `count`."""
        return f"{self._lane} < {self.splat(count)}"

    def from_on(self, count: object) -> str:
        """Condition: the lane's number is at least `count`."""
        return f"{self._lane} >= {self.splat(count)}"

    def select(self, condition: str, yes: str, no: str) -> str:
        return f"T.Select({condition}, {yes}, {no})"

    def load_first(self, buffer: str, index: object, count: object) -> str:
        """The first `count` elements; the other lanes are zero and their memory is not touched."""
        self._needs_lanes()
        where = f"T.ramp({index}, 1, {self.lanes})"
        return f"T.masked_load('float32x{self.lanes}', {buffer}, {where}, {self.below(count)})"

    def store_first(self, buffer: str, index: object, value: str, count: object) -> str:
        """Statement: stores the first `count` lanes and leaves the memory of the others alone."""
        self._needs_lanes()
        return f"T.masked_store({buffer}, {value}, T.ramp({index}, 1, {self.lanes}), {self.below(count)})"

    def shuffle(self, vectors: Sequence[str], lanes: Sequence[int]) -> str:
        """Lanes chosen from the concatenation of `vectors`."""
        self._needs_lanes()
        return f"T.Shuffle([{', '.join(vectors)}], {list(lanes)})"

    def maximum(self, accumulator: str, value: str) -> str:
        """The greater one, NaN if either is; `value` must be a name. `T.max(a, b)` gives `b` when one is NaN."""
        return f"T.Select(T.isnan({value}), {value}, T.max({value}, {accumulator}))"

    def maximum_of_two(self, accumulator: str, a: str, b: str) -> str:
        """The greatest of `accumulator` and two names, NaN if one is: one test for NaN serves both."""
        greatest = f"T.max(T.max({a}, {b}), {accumulator})"
        return f"T.Select(T.Or(T.isnan({a}), T.isnan({b})), {self.number(math.nan)}, {greatest})"

    def minimum(self, accumulator: str, value: str) -> str:
        """The smaller one, NaN if either is; `value` must be a name."""
        return f"T.Select(T.isnan({value}), {value}, T.min({value}, {accumulator}))"

    def sum_of(self, value: str) -> str:
        """Scalar: the sum of all lanes, in the order of the lanes."""
        if self.lanes == 1:
            return value
        return f"T.call_llvm_pure_intrin('llvm.vector.reduce.fadd', T.float32(0), {value}, dtype='float32')"

    def max_of(self, value: str) -> str:
        """Scalar: the greatest of all lanes, NaN if one is."""
        if self.lanes == 1:
            return value
        return f"T.call_llvm_pure_intrin('llvm.vector.reduce.fmaximum', {value}, dtype='float32')"

    @property
    def _lane(self) -> str:
        return "0" if self.lanes == 1 else f"T.ramp(0, 1, {self.lanes})"

    def _needs_lanes(self) -> None:
        if self.lanes == 1:
            raise ValueError("a scalar has no lanes to mask or shuffle")
