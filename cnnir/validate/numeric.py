"""How far two sets of outputs are apart, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.ir import Array

BOUNDS: dict[str, float] = {"fp32": 1e-5, "bf16x3": 3e-5, "fp16": 5e-3, "bf16": 4e-2}
"""Largest relative RMS deviation by precision.

With independent roundings of relative size u (uniform, so u/sqrt(3) RMS) of both operands, L layers in a row
deviate by about u * sqrt(2 L / 3). For L = 100 that is 8.2 u: 4.0e-3 for fp16 (u = 2^-11), 3.2e-2 for bf16
(u = 2^-8). In fp32 (u = 2^-24) it is 5e-7, and the sums over thousands of products add a factor of about 10.
bf16x3 drops the product of the two low halves: about 2^-16 of each term.
"""


class ValidationError(CnnirError):
    """A result that is not good enough, or no number at all: exit code 1."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class OutputDeviation:
    """Deviation of one output; every figure is `inf` (cosine: -1) when the actual output is not finite."""

    name: str
    relative_rms: float  # RMS of the difference over RMS of the expected output
    max_abs: float
    cosine: float  # of the two as vectors

    def as_dict(self) -> dict[str, Any]:
        # JSON has no infinity.
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Deviation:
    """Deviation of every output; `bound` is the largest relative RMS deviation that was asked for."""

    outputs: tuple[OutputDeviation, ...]
    bound: float | None = None

    @property
    def worst(self) -> OutputDeviation:
        """The output with the largest relative RMS deviation."""
        return max(self.outputs, key=lambda o: o.relative_rms)

    @property
    def relative_rms(self) -> float:
        return self.worst.relative_rms

    @property
    def max_abs(self) -> float:
        return max(o.max_abs for o in self.outputs)

    @property
    def passed(self) -> bool:
        """Whether the deviation is within its bound (any deviation is, without one)."""
        return self.bound is None or self.within(self.bound)

    def within(self, bound: float) -> bool:
        return self.relative_rms <= bound

    def summary(self) -> str:
        """Part of a sentence: the worst output, its deviation and the bound."""
        worst = self.worst
        allowed = "" if self.bound is None else f", expected at most {self.bound:.1e}"
        return (
            f"output '{worst.name}' has a relative RMS deviation of {worst.relative_rms:.1e}{allowed} "
            f"(largest absolute deviation {worst.max_abs:.1e}, cosine {worst.cosine:.6f})"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON types; a figure that is not finite becomes `null`."""
        worst = self.worst.as_dict()
        return {
            "relative_rms": worst["relative_rms"],
            "max_abs": self.max_abs if math.isfinite(self.max_abs) else None,
            "cosine": worst["cosine"],
            "bound": self.bound,
            "outputs": [o.as_dict() for o in self.outputs],
        }


def bound_of(precision: str) -> float:
    """The largest relative RMS deviation that `precision` allows; `UnknownNameError` if there is none."""
    if precision not in BOUNDS:
        raise UnknownNameError("precision", precision, BOUNDS)
    return BOUNDS[precision]


def compare(
    actual: Mapping[str, Array], expected: Mapping[str, Array], *, precision: str | None = None
) -> Deviation:
    """The deviation of `actual` from `expected`, output by output, in float64.

    Args:
        precision: gives the result its bound, see `BOUNDS`.

    Raises:
        UnknownNameError: a precision without a bound.
        ValidationError: other names or shapes; nothing to compare; an expected output that is not finite.
    """
    bound = None if precision is None else bound_of(precision)
    if set(actual) != set(expected) or not expected:
        raise ValidationError(f"Expected the outputs {_names(expected)}, got {_names(actual)}.")
    return Deviation(tuple(deviation(name, actual[name], value) for name, value in expected.items()), bound)


def deviation(name: str, actual: Array, expected: Array) -> OutputDeviation:
    """The deviation of one output, see `compare`."""
    if actual.shape != expected.shape:
        raise ValidationError(f"Output '{name}': expected shape {list(expected.shape)}, got {list(actual.shape)}.")
    a, e = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if not np.isfinite(e).all():
        raise ValidationError(f"Output '{name}' is not finite in the reference either: nothing can be compared.")
    if not np.isfinite(a).all():
        return OutputDeviation(name, math.inf, math.inf, -1.0)
    if a.size == 0:
        return OutputDeviation(name, 0.0, 0.0, 1.0)
    difference = float(np.linalg.norm(a - e))
    size_a, size_e = float(np.linalg.norm(a)), float(np.linalg.norm(e))
    relative = 0.0 if difference == 0.0 else math.inf if size_e == 0.0 else difference / size_e
    if size_a and size_e:
        cosine = float(np.clip(np.dot(a / size_a, e / size_e), -1.0, 1.0))
    else:
        cosine = 1.0 if size_a == size_e else 0.0
    return OutputDeviation(name, relative, float(np.abs(a - e).max()), cosine)


def _names(values: Mapping[str, Array]) -> str:
    return ", ".join(f"'{n}'" for n in values) or "none"
