"""Transpose, slice and pad against NumPy: bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.copy import ImageCopy, PlainCopy
from cnnir.ir.packing import to_physical

ALL = slice(None)
TRANSPOSES = (
    ((2, 3, 4, 5), (0, 2, 3, 1)),
    ((2, 7, 33), (0, 2, 1)),
    ((4, 5, 6), (0, 1, 2)),
    ((2, 3, 1, 5), (3, 2, 1, 0)),
    ((70, 90), (1, 0)),
    ((3, 20, 30, 2), (0, 3, 1, 2)),
    ((1, 1), (1, 0)),
)
SLICES: tuple[tuple[tuple[int, ...], tuple[slice, ...]], ...] = (
    ((1, 3, 9, 40), (ALL, slice(1, 3), slice(None, None, 2), slice(1, -1))),
    ((2, 37), (ALL, slice(None, None, -2))),
    ((5, 70), (slice(4, 0, -1), slice(None, None, -1))),
    ((3, 50), (ALL, slice(None, None, 3))),
    ((4, 3), (slice(3, 4), slice(2, 3))),
)
PADS = (
    ((2, 3, 5, 20), (0, 1, 2, 3, 0, 0, 1, 4), 1.5),
    ((40,), (3, 5), 0.0),
    ((1, 16, 3), (0, 8, 0, 0, 8, 0), 0.0),
    ((7,), (0, 0), 2.0),
    ((1, 1), (1, 2, 0, 1), float("-inf")),
)
IMAGES = {
    # channels in and out beyond one block, planes in and out, start, step, fill
    "other halo": (3, 3, (5, 6), (5, 6), (0, 0, 0), (1, 1), 0.0),
    "option A": (0, 16, (8, 8), (4, 4), (-4, 0, 0), (2, 2), 0.0),
    "channels from the middle": (20, 5, (5, 6), (5, 6), (5, 0, 0), (1, 1), 0.0),
    "pad all": (3, 17, (4, 5), (8, 9), (-7, -1, -2), (1, 1), 2.5),
    "backwards": (4, 0, (9, 9), (3, 5), (1, 7, 8), (-2, -2), 0.0),
    "rows all outside": (0, 0, (4, 4), (3, 3), (0, 10, 0), (1, 1), 3.0),
    "columns all outside": (0, 0, (4, 4), (3, 3), (0, 0, -9), (1, 1), 3.0),
}


def image_kernel(name: str, isa: Isa) -> ImageCopy:
    more_in, more_out, plane_in, plane_out, start, step, fill = IMAGES[name]
    b = isa.lanes
    x = ImageBuffer(2, b + more_in, *plane_in, b, (1, 2, 0, 1))
    y = ImageBuffer(2, b + more_out, *plane_out, b, (0, 1, 2, 1))
    return ImageCopy(x, y, start, step, fill)


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    run_kernel.build(
        [
            *(PlainCopy.transpose(shape, perm, isa) for shape, perm in TRANSPOSES),
            *(PlainCopy.slice(shape, slices, isa) for shape, slices in SLICES),
            *(PlainCopy.pad(shape, pads, isa, value) for shape, pads, value in PADS),
            *(image_kernel(name, isa) for name in IMAGES),
        ],
        isa,
    )


def numbers(*shape: int) -> Any:
    return np.random.default_rng(12).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize(("shape", "perm"), TRANSPOSES, ids=str)
def test_transpose(shape: tuple[int, ...], perm: tuple[int, ...], isa: Isa, run_split: Any) -> None:
    x = numbers(*shape)
    y = run_split(PlainCopy.transpose(shape, perm, isa), {"x": x}, isa)
    np.testing.assert_array_equal(y, x.transpose(perm).reshape(-1))


@pytest.mark.parametrize(("shape", "slices"), SLICES, ids=str)
def test_slice(shape: tuple[int, ...], slices: tuple[slice, ...], isa: Isa, run_split: Any) -> None:
    x = numbers(*shape)
    kernel = PlainCopy.slice(shape, slices, isa)
    assert kernel.shape == x[slices].shape
    np.testing.assert_array_equal(run_split(kernel, {"x": x}, isa), x[slices].reshape(-1))


@pytest.mark.parametrize(("shape", "pads", "value"), PADS, ids=str)
def test_pad(shape: tuple[int, ...], pads: tuple[int, ...], value: float, isa: Isa, run_split: Any) -> None:
    x = numbers(*shape)
    before, behind = pads[: len(shape)], pads[len(shape) :]
    expected = np.pad(x, list(zip(before, behind, strict=True)), constant_values=value)
    kernel = PlainCopy.pad(shape, pads, isa, value)
    assert kernel.shape == expected.shape
    np.testing.assert_array_equal(run_split(kernel, {"x": x}, isa), expected.reshape(-1))


@pytest.mark.parametrize("name", IMAGES)
def test_image(name: str, isa: Isa, run_split: Any, poisoned: Any) -> None:
    kernel = image_kernel(name, isa)
    x = numbers(*kernel.x.type.shape)
    n, channels, height, width = kernel.y.type.shape
    expected = np.full((n, channels, height, width), kernel.fill, np.float32)
    c0, i0, j0 = kernel.start
    for c, i, j in np.ndindex(channels, height, width):
        at = (c0 + c, i0 + i * kernel.step[0], j0 + j * kernel.step[1])
        if all(0 <= p < size for p, size in zip(at, x.shape[1:], strict=True)):
            expected[:, c, i, j] = x[:, at[0], at[1], at[2]]
    y = run_split(kernel, {"x": poisoned(x, kernel.x)}, isa)
    np.testing.assert_array_equal(y, to_physical(expected, kernel.y.type.layout).reshape(-1))


def test_refuses_to_read_outside(isa: Isa) -> None:
    with pytest.raises(ValueError, match=r"reads elements 0\.\.10 of 10"):
        PlainCopy(10, (11,), (1,), 0, ((0, 11),), isa)
    with pytest.raises(ValueError, match=r"reads elements -1\.\.8 of 10"):
        PlainCopy(10, (10,), (1,), -1, ((0, 10),), isa)
    with pytest.raises(ValueError, match="does not permute"):
        PlainCopy.transpose((2, 3), (0, 0), isa)
    with pytest.raises(ValueError, match="one batch size and block"):
        ImageCopy(ImageBuffer(1, 16, 2, 2, 16), ImageBuffer(1, 16, 2, 2, 8))
