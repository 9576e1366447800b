"""Element-wise kernels against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.elementwise import (
    ImageMap,
    PlainMap,
    affine_constants,
    pack_channels,
    per_channel,
)
from cnnir.backends.tvm.x86.kernels.formula import Combine, Formula
from cnnir.ir import Array
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.activation import Activation, ActivationKind

U = 2.0**-24
SIGMOID = Activation(ActivationKind.SIGMOID)
RELU = Activation(ActivationKind.RELU)

EXACT: dict[Combine, Callable[..., Array]] = {
    Combine.ADD: np.add,
    Combine.SUB: np.subtract,
    Combine.MUL: np.multiply,
    Combine.DIV: np.divide,
    Combine.MAX: np.maximum,
    Combine.MIN: np.minimum,
    Combine.POW: np.power,
    Combine.PRELU: lambda x, slope: np.where(x < 0, x * slope, x),
}
IMAGE_OPERANDS = ("same", "per image and channel", "per channel", "scalar", "per pixel")
PLAIN_SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((3, 37), (3, 37)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((2, 3, 4, 5), ()),
    ((2, 1, 4, 1), (2, 3, 1, 5)),
    ((10,), (4, 10)),
    ((1, 3, 7000), (3, 1)),
    ((9001,), (9001,)),
    ((), ()),
)


def image_kernel(combine: Combine, second: str, isa: Isa) -> ImageMap:
    n, c, h, w, b = 2, isa.lanes + 3, 5, 6, isa.lanes
    operand = {
        "same": ImageBuffer(n, c, h, w, b, (0, 1, 1, 0)),
        "per image and channel": ImageBuffer(n, c, 1, 1, b, (0, 1, 0, 0)),
        "per channel": per_channel(c, b),
        "scalar": ImageBuffer(1, 1, 1, 1),
        "per pixel": ImageBuffer(n, 1, h, w),
    }[second]
    activation = SIGMOID if combine is Combine.ADD else RELU if combine is Combine.MUL else None
    operands = (ImageBuffer(n, c, h, w, b, (1, 0, 2, 1)), operand)
    return ImageMap(Formula(combine, activation), operands, ImageBuffer(n, c, h, w, b, (0, 1, 1, 2)))


def plain_kernel(combine: Combine, a: tuple[int, ...], b: tuple[int, ...], isa: Isa) -> PlainMap:
    return PlainMap(Formula(combine, RELU), (a, b), np.broadcast_shapes(a, b), isa)


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    kernels: list[Any] = [image_kernel(c, "same", isa) for c in EXACT]
    kernels += [image_kernel(c, o, isa) for c in (Combine.ADD, Combine.DIV) for o in IMAGE_OPERANDS]
    kernels += [plain_kernel(c, *s, isa) for c in (Combine.SUB, Combine.PRELU) for s in PLAIN_SHAPES]
    run_kernel.build(kernels, isa)


def check(formula: Formula, got: Array, operands: list[Array]) -> None:
    """Each combination rounds once (the power within 2 ulp), the activation is within 4 ulp, slopes at most 1."""
    expected = EXACT[formula.combine](*(o.astype(np.float64) for o in operands))
    bound = np.abs(expected) * 2 * U * (2 if formula.combine is Combine.POW else 0.5)
    if formula.activation is not None:
        expected = formula.activation(expected)
        bound = bound + 4 * 2 * U * np.abs(expected)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    assert (
        np.abs(got - expected)[~np.isnan(expected)] <= np.broadcast_to(bound, got.shape)[~np.isnan(expected)]
    ).all()


def pairs() -> list[tuple[Combine, str]]:
    return [(c, "same") for c in EXACT] + [(c, o) for c in (Combine.ADD, Combine.DIV) for o in IMAGE_OPERANDS[1:]]


@pytest.mark.parametrize(("combine", "second"), pairs())
def test_image(combine: Combine, second: str, isa: Isa, run_split: Any, poisoned: Any) -> None:
    kernel = image_kernel(combine, second, isa)
    rng = np.random.default_rng(7)
    a, b = (rng.standard_normal(o.type.shape, dtype=np.float32) for o in kernel.operands)
    if combine is Combine.POW:
        a = np.abs(a)
    if combine in (Combine.MAX, Combine.MIN):
        a[0, 1, 2, 3] = b[1, 2, 0, 0] = np.nan
    # Zeros in padded channels here: what is divided by, or by what, must not make them NaN.
    zeros = to_physical(b, kernel.operands[1].type.layout)
    y = run_split(kernel, {"x0": poisoned(a, kernel.operands[0]), "x1": zeros}, isa)
    got = from_physical(y, kernel.y.type)
    check(kernel.formula, got, [a, b])
    physical = y.reshape(kernel.y.type.physical_shape)
    if not kernel.formula.keeps_zero or second in ("scalar", "per pixel"):
        np.testing.assert_array_equal(physical, to_physical(got, kernel.y.type.layout))
    assert np.isfinite(physical[:, -1, :, :, 3:]).all()


@pytest.mark.parametrize("combine", [Combine.SUB, Combine.PRELU])
@pytest.mark.parametrize(("a_shape", "b_shape"), PLAIN_SHAPES, ids=str)
def test_plain(
    combine: Combine, a_shape: tuple[int, ...], b_shape: tuple[int, ...], isa: Isa, run_split: Any
) -> None:
    kernel = plain_kernel(combine, a_shape, b_shape, isa)
    rng = np.random.default_rng(8)
    a, b = (np.asarray(rng.standard_normal(s), np.float32) for s in (a_shape, b_shape))
    y = run_split(kernel, {"x0": a, "x1": b}, isa)
    check(kernel.formula, y.reshape(kernel.shape), [a, b])


def test_batch_norm_is_affine(isa: Isa, run_split: Any, poisoned: Any) -> None:
    c, block = isa.lanes + 5, isa.lanes
    image = ImageBuffer(2, c, 4, 5, block)
    kernel = ImageMap(Formula(Combine.AFFINE), (image, per_channel(c, block), per_channel(c, block)), image)
    rng = np.random.default_rng(9)
    x = rng.standard_normal(image.type.shape, dtype=np.float32)
    scale, bias, mean = (rng.standard_normal(c, dtype=np.float32) for _ in range(3))
    var = rng.uniform(0.1, 2, c).astype(np.float32)
    a, b = affine_constants(scale, bias, mean, var, 1e-3, block)
    y = from_physical(run_split(kernel, {"x0": poisoned(x, image), "x1": a, "x2": b}, isa), image.type)

    def along(v: Array) -> Array:
        return v.astype(np.float64)[:, None, None]

    factor = along(scale) / np.sqrt(along(var) + 1e-3)
    expected = (x - along(mean)) * factor + along(bias)
    # Both constants, the product and the sum round.
    bound = 4 * U * (np.abs(x * factor) + np.abs(along(mean) * factor) + np.abs(along(bias)))
    assert (np.abs(y - expected) <= bound).all()


@pytest.mark.parametrize("bounds", [(-128, 127), (0, 255)])
def test_quantize_and_dequantize(bounds: tuple[int, int], isa: Isa, run_split: Any) -> None:
    block = isa.lanes
    image, one = ImageBuffer(1, block, 3, 7, block), per_channel(block, block)
    quantize = ImageMap(Formula(Combine.QUANTIZE, bounds=bounds), (image, one, one), image)
    dequantize = PlainMap(Formula(Combine.DEQUANTIZE), ((2, 3, 5), (3, 1), (3, 1)), (2, 3, 5), isa)
    rng = np.random.default_rng(10)
    scale = rng.choice([0.5, 0.25, 0.037, 2], block).astype(np.float32)
    zero = rng.integers(-3, 4, block).astype(np.float32)
    # Multiples of a quarter: many halves among the quotients.
    x = (rng.integers(-400, 400, image.type.shape) / 4).astype(np.float32)
    operands = {"x0": to_physical(x, image.type.layout), "x1": scale, "x2": zero}
    y = from_physical(run_split(quantize, operands, isa), image.type)
    quotient = x / scale[:, None, None]
    assert (np.abs(quotient % 1 - 0.5) == 0).sum() > 20
    np.testing.assert_array_equal(y, np.clip(np.rint(quotient) + zero[:, None, None], *bounds))

    q = rng.integers(*bounds, (2, 3, 5)).astype(np.float32)
    s, z = rng.uniform(0.01, 1, (3, 1)).astype(np.float32), rng.integers(-5, 5, (3, 1)).astype(np.float32)
    back = run_split(dequantize, {"x0": q, "x1": s, "x2": z}, isa).reshape(2, 3, 5)
    np.testing.assert_array_equal(back, (q - z) * s)


@pytest.mark.parametrize("kind", [ActivationKind.SIGMOID, ActivationKind.HARD_SWISH])
def test_unary_of_one_channel_a_block(kind: ActivationKind, isa: Isa, run_split: Any) -> None:
    image = ImageBuffer(2, 3, 4, 5, 1)
    kernel = ImageMap(Formula(Combine.IDENTITY, Activation(kind)), (image,), image)
    x = np.random.default_rng(11).normal(0, 3, image.type.shape).astype(np.float32)
    y = run_split(kernel, {"x0": x}, isa).reshape(x.shape)
    expected = Activation(kind)(x.astype(np.float64))
    assert (np.abs(y - expected) <= 8 * U * (np.abs(x) + 1)).all()


def test_packing_pads_with_zeros() -> None:
    np.testing.assert_array_equal(pack_channels(np.array([1, 2, 3]), 4), np.array([1, 2, 3, 0], np.float32))
    assert per_channel(3, 4).size == 4


def test_refuses_what_does_not_broadcast(isa: Isa) -> None:
    image = ImageBuffer(1, 16, 4, 4, 16)
    with pytest.raises(ValueError, match="does not broadcast"):
        ImageMap(Formula(Combine.ADD), (image, ImageBuffer(1, 16, 4, 4, 8)), image)
    with pytest.raises(ValueError, match="takes 2 operands"):
        ImageMap(Formula(Combine.ADD), (image,), image)
    with pytest.raises(ValueError, match="does not broadcast"):
        PlainMap(Formula(Combine.ADD), ((3, 4), (3,)), (3, 4), isa)
