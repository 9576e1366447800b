"""Pooling kernels against the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.global_pool import GlobalPool
from cnnir.backends.tvm.x86.kernels.pool import Pool, PoolKind
from cnnir.ir.packing import from_physical
from cnnir.ops.pool import AVERAGE_POOL, GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL, MAX_POOL, AveragePoolAttrs, PoolAttrs

U = 2.0**-24
HALOS = ((1, 2, 0, 1), (2, 1, 1, 0))


@dataclass(frozen=True)
class Case:
    """`extra` channels beyond one block, sizes, attributes."""

    extra: int
    size: tuple[int, int]
    attrs: AveragePoolAttrs
    halos: tuple[tuple[int, int, int, int], tuple[int, int, int, int]] = HALOS


CASES = {
    "resnet stem": Case(1, (9, 29), AveragePoolAttrs((3, 3), (2, 2), (1, 1, 1, 1))),
    "include pad": Case(0, (9, 7), AveragePoolAttrs((3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=True)),
    "dilation": Case(-5, (20, 31), AveragePoolAttrs((3, 2), (1, 1), (1, 1, 1, 0), (2, 3))),
    "ceil": Case(0, (8, 10), AveragePoolAttrs((3, 3), (2, 2), ceil_mode=True)),
    "ceil, include pad": Case(
        3, (6, 7), AveragePoolAttrs((2, 3), (2, 3), (1, 1, 1, 1), ceil_mode=True, count_include_pad=True)
    ),
    "whole plane": Case(0, (13, 13), AveragePoolAttrs((13, 13))),
    "no halo": Case(0, (8, 8), AveragePoolAttrs((2, 2), (2, 2)), ((0, 0, 0, 0), (0, 0, 0, 0))),
    "gaps": Case(0, (5, 6), AveragePoolAttrs((1, 1), (2, 3))),
    "one column": Case(0, (12, 1), AveragePoolAttrs((5, 3), (3, 1), (2, 1, 2, 1))),
}


def kernel_of(case: Case, kind: PoolKind, isa: Isa) -> Pool:
    a, channels, (h, w) = case.attrs, isa.lanes + case.extra, case.size
    oh, ow = a.output((h, w))
    x = ImageBuffer(2, channels, h, w, isa.lanes, case.halos[0])
    y = ImageBuffer(2, channels, oh, ow, isa.lanes, case.halos[1])
    return Pool(x, y, kind, a.kernel_size, a.stride, a.pads, a.dilation, a.count_include_pad)


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    run_kernel.build((kernel_of(case, kind, isa) for case in CASES.values() for kind in PoolKind), isa)


@pytest.mark.parametrize("name", CASES)
def test_max_pool(name: str, isa: Isa, run_split: Any, poisoned: Any) -> None:
    case = CASES[name]
    kernel = kernel_of(case, PoolKind.MAX, isa)
    # Below zero throughout, so that a padding of zeros would win; NaN must win instead.
    x = np.random.default_rng(1).standard_normal(kernel.x.type.shape, dtype=np.float32) - 5
    x[1, 2, kernel.x.height // 2, 0] = np.nan
    x[0, 1, 0, 0] = -np.inf
    y = run_split(kernel, {"x": poisoned(x, kernel.x)}, isa)
    a = case.attrs
    (expected,) = MAX_POOL.reference(PoolAttrs(a.kernel_size, a.stride, a.pads, a.dilation, a.ceil_mode), (x,))
    np.testing.assert_array_equal(from_physical(y, kernel.y.type), expected)
    assert_zero_halo(y, kernel.y)


@pytest.mark.parametrize("name", CASES)
def test_average_pool(name: str, isa: Isa, run_split: Any, poisoned: Any) -> None:
    case = CASES[name]
    kernel = kernel_of(case, PoolKind.AVERAGE, isa)
    x = np.random.default_rng(2).standard_normal(kernel.x.type.shape, dtype=np.float32) + 1
    y = run_split(kernel, {"x": poisoned(x, kernel.x)}, isa)
    (expected,) = AVERAGE_POOL.reference(case.attrs, (x.astype(np.float64),))
    (magnitude,) = AVERAGE_POOL.reference(case.attrs, (np.abs(x).astype(np.float64),))
    # Additions, the reciprocal and the product each round once.
    taps = case.attrs.kernel_size[0] * case.attrs.kernel_size[1]
    assert (np.abs(from_physical(y, kernel.y.type) - expected) <= (taps + 2) * U * magnitude).all()
    assert_zero_halo(y, kernel.y)


def assert_zero_halo(y: Any, image: ImageBuffer) -> None:
    physical = y.reshape(image.type.physical_shape).copy()
    if image.block > 1:
        top, left = image.halo[:2]
        physical[:, :, top : top + image.height, left : left + image.width] = 0
        np.testing.assert_array_equal(physical, 0)


@pytest.mark.parametrize("kind", PoolKind)
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("halo", [(0, 0, 0, 0), (1, 0, 2, 1)])
def test_global_pool(
    kind: PoolKind, plain: bool, halo: tuple[int, int, int, int], isa: Isa, run_split: Any, poisoned: Any
) -> None:
    b = isa.lanes
    x_image = ImageBuffer(2, 2 * b + 3, 7, 9, b, halo)
    y_image = ImageBuffer(2, 2 * b + 3, 1, 1) if plain else ImageBuffer(2, 2 * b + 3, 1, 1, b, halo)
    kernel = GlobalPool(x_image, y_image, kind)
    x = np.random.default_rng(3).standard_normal(x_image.type.shape, dtype=np.float32) - 4
    x[0, 5, 3, 8] = np.nan
    y = run_split(kernel, {"x": poisoned(x, x_image)}, isa)
    operator = GLOBAL_MAX_POOL if kind is PoolKind.MAX else GLOBAL_AVERAGE_POOL
    (expected,) = operator.reference(operator.attrs_type(), (x.astype(np.float64),))
    bound = 0 if kind is PoolKind.MAX else (7 * 9 + 2) * U * np.abs(x).mean(axis=(2, 3), keepdims=True)
    error = np.abs(from_physical(y, y_image.type) - expected)
    np.testing.assert_array_equal(np.isnan(error), np.isnan(expected))
    assert (np.nan_to_num(error) <= np.nan_to_num(bound)).all()
    assert_zero_halo(y, y_image)


def test_refuses_what_does_not_fit() -> None:
    x = ImageBuffer(1, 16, 8, 8, 16)
    with pytest.raises(ValueError, match="neither batch, channels nor block"):
        Pool(x, ImageBuffer(1, 32, 4, 4, 16), PoolKind.MAX, (2, 2), (2, 2))
    with pytest.raises(ValueError, match="wholly outside"):
        Pool(x, ImageBuffer(1, 16, 5, 5, 16), PoolKind.MAX, (2, 2), (2, 2))
    with pytest.raises(ValueError, match="one pixel"):
        GlobalPool(x, x, PoolKind.AVERAGE)
