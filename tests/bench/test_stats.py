"""Statistics against hand-computed cases and SciPy's bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from cnnir.bench.stats import Verdict, bootstrap_median, ratio, summarize


def test_summary_by_hand() -> None:
    s = summarize([float(t) for t in range(100, -1, -1)])  # 0..100: percentile p is p
    assert (s.n, s.median, s.p90, s.p99, s.min, s.mean) == (101, 50.0, 90.0, 99.0, 0.0, 50.0)
    assert summarize([3.0, 1.0]).median == 2.0
    assert summarize([7.0]).p99 == 7.0


def test_ratio_is_the_median_of_ratios_not_the_ratio_of_medians() -> None:
    ours, theirs = [1.0, 20.0, 3.0], [2.0, 10.0, 30.0]
    r = ratio(ours, theirs)  # ratios 0.5, 2, 0.1; the medians are 3 and 10
    assert r.median == 0.5
    assert r.verdict is Verdict.UNKNOWN and r.noise == "3 rounds are too few: take at least 5."
    assert ratio([2.0], [1.0]).interval == (2.0, 2.0)


def test_a_slow_phase_of_the_machine_cancels() -> None:
    load = np.repeat([1.0, 3.0, 1.0], 10)
    wobble = 1 + 0.01 * np.sin(np.arange(30))
    r = ratio(list(8.0 * load * wobble), list(10.0 * load))
    assert r.median == pytest.approx(0.8, rel=0.01)
    assert r.verdict is Verdict.FASTER and r.noise == ""


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).lognormal(0, 0.2, 25)
    expected = scipy.stats.bootstrap(
        (values,), np.median, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = bootstrap_median(values, seed=0)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.02)
    assert bootstrap_median(values, seed=0) == (low, high)


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for i in range(200):
        low, high = bootstrap_median(1.3 * rng.lognormal(0, 0.1, 20), seed=i)
        hits += low <= 1.3 <= high
    # 95% nominal: 180 of 200 is four standard deviations below.
    assert hits >= 178


@pytest.mark.parametrize(
    ("ratios", "verdict", "noise"),
    [
        ([0.80, 0.81, 0.79, 0.80, 0.82, 0.80], Verdict.FASTER, ""),
        ([1.25, 1.24, 1.26, 1.25, 1.22, 1.25], Verdict.SLOWER, ""),
        ([0.99, 1.01, 1.00, 1.02, 0.98, 1.00], Verdict.EQUAL, ""),
        ([0.7, 1.4, 0.8, 1.3, 1.0, 0.9, 1.2], Verdict.UNKNOWN, "The interval is wide"),
        ([0.3, 0.6, 0.4, 0.5, 0.35, 0.55], Verdict.FASTER, "The interval is wide"),
        ([0.80, 0.81, 0.79, 0.80, 0.82, 1.20, 1.21, 1.19, 1.20, 1.22], Verdict.UNKNOWN, "The ratio drifts"),
    ],
)
def test_verdicts(ratios: list[float], verdict: Verdict, noise: str) -> None:
    r = ratio(ratios, [1.0] * len(ratios))
    assert r.verdict is verdict
    assert r.noise.startswith(noise) and bool(r.noise) == bool(noise)


def test_rounds_must_pair() -> None:
    with pytest.raises(ValueError, match="as many rounds"):
        ratio([1.0], [1.0, 2.0])
