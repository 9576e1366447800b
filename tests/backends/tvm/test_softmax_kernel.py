"""Softmax against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.softmax import Softmax

U = 2.0**-24
CASES = (
    ((1, 1000), -1),
    ((3, 10), 1),
    ((4, 64), 1),
    ((2, 5, 3, 4), 1),
    ((2, 7, 33), 1),
    ((2, 5, 3), -1),
    ((5, 3, 2), 0),
    ((2, 1), 1),
)


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    run_kernel.build((Softmax(shape, axis, isa) for shape, axis in CASES), isa)


@pytest.mark.parametrize(("shape", "axis"), CASES, ids=str)
@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_softmax(shape: tuple[int, ...], axis: int, spread: float, isa: Isa, run_split: Any) -> None:
    x = np.random.default_rng(5).normal(0, spread, shape).astype(np.float32)
    y = run_split(Softmax(shape, axis, isa), {"x": x}, isa).reshape(shape)
    shifted = x.astype(np.float64) - x.max(axis=axis, keepdims=True)
    e = np.exp(shifted)
    expected = e / e.sum(axis=axis, keepdims=True)
    # The difference rounds, which the exponential magnifies; then exp (1 ulp), the sum, reciprocal and product.
    bound = expected * U * (np.abs(shifted) + 2 + shape[axis] + 2) + 2.0**-126
    assert (np.abs(y - expected) <= bound).all()


def test_extremes(isa: Isa, run_split: Any) -> None:
    x = np.zeros((4, 64), np.float32)
    x[0] = 3e38  # nothing overflows
    x[1, 5] = -np.inf
    x[2, 63] = np.nan
    x[3, 7] = 1e4
    y = run_split(Softmax((4, 64), 1, isa), {"x": x}, isa).reshape(4, 64)
    np.testing.assert_array_equal(y[0], np.float32(1 / 64))
    assert y[1, 5] == 0
    assert abs(y[1, 0] - 1 / 63) <= 70 * U / 63
    assert np.isnan(y[2]).all()
    np.testing.assert_array_equal(y[3], np.eye(64, dtype=np.float32)[7])


def test_refuses_an_axis_that_is_not_there(isa: Isa) -> None:
    with pytest.raises(ValueError, match="no axis 2"):
        Softmax((3, 4), 2, isa)
