"""Concatenation against NumPy: bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.concat import ImageConcat, PlainConcat
from cnnir.ir.packing import to_physical

HALO = (1, 2, 0, 1)
# Channels of each input, as (blocks, channels more).
IMAGES = (
    ((1, 0), (2, 0)),
    ((1, 0), (1, 3)),
    ((0, 3), (0, 5), (0, 7)),
    ((1, -1), (1, 0), (2, 1), (0, 1)),
    ((1, 5),),
    ((0, 2), (2, 3), (1, 0)),
)
PLAIN = (
    (((2, 3, 5), (2, 4, 5)), 1),
    (((2, 3), (5, 3), (1, 3)), 0),
    (((3, 7), (3, 9000)), -1),
    (((1, 5, 2, 3), (1, 6, 2, 3), (1, 1, 2, 3)), 1),
    (((1, 9),), 1),
)


def image_kernel(channels: tuple[tuple[int, int], ...], isa: Isa) -> ImageConcat:
    b = isa.lanes
    counts = [blocks * b + more for blocks, more in channels]
    inputs = tuple(ImageBuffer(2, c, 3, 5, b, HALO if i % 2 else (0, 0, 0, 0)) for i, c in enumerate(counts))
    return ImageConcat(inputs, ImageBuffer(2, sum(counts), 3, 5, b, (0, 1, 2, 1)))


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    run_kernel.build(
        [*(image_kernel(c, isa) for c in IMAGES), *(PlainConcat(shapes, axis, isa) for shapes, axis in PLAIN)], isa
    )


@pytest.mark.parametrize("channels", IMAGES, ids=str)
def test_image(channels: tuple[tuple[int, int], ...], isa: Isa, run_split: Any, poisoned: Any) -> None:
    kernel = image_kernel(channels, isa)
    rng = np.random.default_rng(14)
    arrays = [rng.standard_normal(x.type.shape, dtype=np.float32) for x in kernel.inputs]
    feeds = {f"x{i}": poisoned(a, x) for i, (a, x) in enumerate(zip(arrays, kernel.inputs, strict=True))}
    expected = to_physical(np.concatenate(arrays, axis=1), kernel.y.type.layout)
    np.testing.assert_array_equal(run_split(kernel, feeds, isa), expected.reshape(-1))


@pytest.mark.parametrize(("shapes", "axis"), PLAIN, ids=str)
def test_plain(shapes: tuple[tuple[int, ...], ...], axis: int, isa: Isa, run_split: Any) -> None:
    rng = np.random.default_rng(15)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    y = run_split(PlainConcat(shapes, axis, isa), {f"x{i}": a for i, a in enumerate(arrays)}, isa)
    np.testing.assert_array_equal(y, np.concatenate(arrays, axis).reshape(-1))


def test_refuses_what_does_not_join(isa: Isa) -> None:
    image = ImageBuffer(1, 16, 4, 4, 16)
    with pytest.raises(ValueError, match="do not join"):
        ImageConcat((image, image), image)
    with pytest.raises(ValueError, match="do not join"):
        PlainConcat(((2, 3), (3, 4)), 1, isa)
