"""What a list of latencies says, and what two interleaved lists say about each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
MIN_ROUNDS = 5
WIDE = 1.25
"""Upper over lower end of an interval from which on the ratio is called uncertain."""
NARROW = 1.05
"""Upper over lower end up to which an interval around 1 means that there is no difference."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Order statistics of latencies, in the unit of the input (milliseconds in this package)."""

    n: int
    median: float
    p90: float
    p99: float
    min: float
    mean: float


def summarize(times: Sequence[float]) -> Summary:
    """Statistics of at least one latency; percentiles interpolate linearly (NumPy's default)."""
    array = np.asarray(times, np.float64)
    median, p90, p99 = np.percentile(array, [50, 90, 99])
    return Summary(len(array), float(median), float(p90), float(p99), float(array.min()), float(array.mean()))


class Verdict(StrEnum):
    FASTER = "faster"
    SLOWER = "slower"
    EQUAL = "no difference"
    UNKNOWN = "cannot conclude"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over theirs.

    `median` is the median over rounds of the ratio of the two medians of a round; `interval` its bootstrap 95%
    interval; `noise` one sentence on why the figure is uncertain, empty when it is not.
    """

    median: float
    interval: tuple[float, float]
    verdict: Verdict
    noise: str = ""


def ratio(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Ratio:
    """Compares two engines from their medians in the same rounds.

    Rounds are the unit of resampling (percentile bootstrap, Efron 1979), because calls of one turn share its
    disturbances. Nothing is concluded from fewer than 5 rounds, nor when the ratio drifts: when the bootstrap
    intervals of the earlier and the later half of the rounds do not meet and their medians are over 10% apart.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"expected as many rounds of both, at least one; got {len(ours)} and {len(theirs)}")
    ratios = np.asarray(ours, np.float64) / np.asarray(theirs, np.float64)
    median = float(np.median(ratios))
    low, high = bootstrap_median(ratios, seed)
    noise = _noise(ratios, (low, high), seed)
    if len(ratios) < MIN_ROUNDS or _drifts(ratios, seed):
        verdict = Verdict.UNKNOWN
    elif high < 1:
        verdict = Verdict.FASTER
    elif low > 1:
        verdict = Verdict.SLOWER
    else:
        verdict = Verdict.EQUAL if high <= NARROW * low else Verdict.UNKNOWN
    return Ratio(median, (low, high), verdict, noise)


def bootstrap_median(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95% percentile interval of the median of `values`."""
    picks = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[picks], axis=1), [2.5, 97.5])
    return float(low), float(high)


def _drifts(ratios: NDArray[np.float64], seed: int) -> bool:
    half = len(ratios) // 2
    if half < MIN_ROUNDS:
        return False
    early, late = ratios[:half], ratios[-half:]
    (early_low, early_high), (late_low, late_high) = bootstrap_median(early, seed), bootstrap_median(late, seed)
    apart = early_high < late_low or late_high < early_low
    a, b = float(np.median(early)), float(np.median(late))
    return apart and max(a, b) > 1.1 * min(a, b)


def _noise(ratios: NDArray[np.float64], interval: tuple[float, float], seed: int) -> str:
    if len(ratios) < MIN_ROUNDS:
        return f"{len(ratios)} round{'s'[: len(ratios) - 1]} are too few: take at least {MIN_ROUNDS}."
    if _drifts(ratios, seed):
        return "The ratio drifts over the run: something else used the machine. Repeat it."
    if interval[1] > WIDE * interval[0]:
        return "The interval is wide: the machine is busy, or there are too few rounds."
    return ""
