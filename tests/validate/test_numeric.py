"""Deviations against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnir.errors import UnknownNameError
from cnnir.validate.numeric import BOUNDS, ValidationError, compare


def test_figures_by_hand() -> None:
    # Difference (0, 0.5, 0), norm of the expected vector 3: relative RMS 1/6; dot 9 + 1 = 10, norm of the
    # actual vector sqrt(4 + 6.25 + 1).
    d = compare({"y": np.array([[2.0, 2.5, 1.0]])}, {"y": np.array([[2.0, 2.0, 1.0]])})
    assert d.relative_rms == pytest.approx(1 / 6)
    assert d.max_abs == 0.5
    assert d.worst.cosine == pytest.approx(10 / (3 * math.sqrt(11.25)))


def test_the_bound_rejects_a_small_error() -> None:
    expected = np.random.default_rng(0).standard_normal((4, 1000))
    within = compare({"y": expected * (1 + 0.9e-5)}, {"y": expected}, precision="fp32")
    beyond = compare({"y": expected * (1 + 1.1e-5)}, {"y": expected}, precision="fp32")
    assert within.passed and not beyond.passed
    assert "expected at most 1.0e-05" in beyond.summary()


def test_one_wrong_element_of_a_million_is_seen() -> None:
    expected = np.ones((1, 1_000_000), np.float32)
    actual = expected.copy()
    actual[0, 777] = 2.0
    d = compare({"y": actual}, {"y": expected}, precision="fp32")
    assert d.relative_rms == pytest.approx(1e-3) and d.max_abs == 1.0 and not d.passed


def test_the_worst_output_counts() -> None:
    x = np.ones(4)
    d = compare({"a": x, "b": x * 1.5}, {"a": x, "b": x})
    assert d.worst.name == "b" and d.relative_rms == 0.5
    assert [o["relative_rms"] for o in d.as_dict()["outputs"]] == [0.0, 0.5]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_never_passes(bad: float) -> None:
    d = compare({"y": np.array([1.0, bad])}, {"y": np.array([1.0, 2.0])}, precision="bf16")
    assert not d.passed and d.as_dict()["relative_rms"] is None


def test_zero_expected() -> None:
    zero = np.zeros(3)
    assert compare({"y": zero}, {"y": zero}, precision="fp32").passed
    assert not compare({"y": zero + 1e-30}, {"y": zero}, precision="fp32").passed


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        ({"z": np.ones(2)}, "Expected the outputs 'y', got 'z'."),
        ({"y": np.ones(3)}, r"Output 'y': expected shape \[2\], got \[3\]."),
    ],
)
def test_other_outputs_are_refused(actual: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        compare(actual, {"y": np.ones(2)})


def test_unknown_precision() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'bf16'"):
        compare({"y": np.ones(1)}, {"y": np.ones(1)}, precision="bf61")


def test_bounds_are_far_from_chance() -> None:
    # Two random vectors deviate by sqrt(2): no bound may be anywhere near.
    assert all(bound < 0.05 for bound in BOUNDS.values())
