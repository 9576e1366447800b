"""Reductions against NumPy in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.reduce import Reduce, ReduceKind

U = 2.0**-24
CASES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((1, 16, 5, 7), (2, 3)),
    ((2, 5, 4, 4), (-1, -2)),
    ((2, 5, 4, 4), (1,)),
    ((3, 1000), (1,)),
    ((3, 5, 37), (0, 2)),
    ((3, 5, 37), (0, 1)),
    ((4, 6, 3, 5), (1, 3)),
    ((4, 6, 3, 50), (0, 2)),
    ((2, 3), (0, 1)),
    ((1, 1), (0,)),
    ((3, 5), ()),
)

# A mean is a sum and a factor: a few are enough.
COMBINATIONS = [(*case, kind) for case in CASES for kind in (ReduceKind.SUM, ReduceKind.MAX)]
COMBINATIONS += [(*case, ReduceKind.MEAN) for case in CASES[1:4]]


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    run_kernel.build((Reduce(shape, axes, kind, isa) for shape, axes, kind in COMBINATIONS), isa)


@pytest.mark.parametrize(("shape", "axes", "kind"), COMBINATIONS, ids=str)
def test_reduce(shape: tuple[int, ...], axes: tuple[int, ...], kind: ReduceKind, isa: Isa, run_split: Any) -> None:
    x = np.random.default_rng(16).standard_normal(shape, dtype=np.float32) - 3
    y = run_split(Reduce(shape, axes, kind, isa), {"x": x}, isa)
    wide = x.astype(np.float64)
    if kind is ReduceKind.MAX:
        np.testing.assert_array_equal(y, wide.max(axis=axes).reshape(-1))
        return
    reduce = np.sum if kind is ReduceKind.SUM else np.mean
    terms = math.prod(shape[a] for a in axes)
    bound = (terms + 1) * U * np.asarray(reduce(np.abs(wide), axis=axes)).reshape(-1)
    assert (np.abs(y - np.asarray(reduce(wide, axis=axes)).reshape(-1)) <= bound).all()


@pytest.mark.parametrize(("shape", "axes"), [((3, 1000), (1,)), ((3, 5, 37), (0, 1))])
def test_max_keeps_nan(shape: tuple[int, ...], axes: tuple[int, ...], isa: Isa, run_split: Any) -> None:
    x = np.random.default_rng(17).standard_normal(shape, dtype=np.float32)
    x.reshape(-1)[[0, x.size // 2]] = np.nan
    y = run_split(Reduce(shape, axes, ReduceKind.MAX, isa), {"x": x}, isa)
    np.testing.assert_array_equal(y, x.max(axis=axes).reshape(-1))


def test_refuses_an_axis_that_is_not_there(isa: Isa) -> None:
    with pytest.raises(ValueError, match="no axes"):
        Reduce((3, 4), (2,), ReduceKind.SUM, isa)
