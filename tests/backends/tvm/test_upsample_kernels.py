"""Transposed convolution, pooling with indices and unpooling: each kernel against the float64 reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.conv_transpose import (
    ConvTransposeKernel,
    Phases,
    TransposedTile,
    choose_transposed,
    phases_of,
)
from cnnir.backends.tvm.x86.kernels.unpool import PoolIndices, Unpool
from cnnir.ir import Array
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.conv_transpose import CONV_TRANSPOSE, ConvTransposeAttrs
from cnnir.ops.pool import PoolAttrs
from cnnir.ops.unpool import MAX_POOL_INDICES, MAX_UNPOOL, MaxUnpoolAttrs

U = 2.0**-24
Halo = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """Input shape, filters, attributes; what the buffers have around the image; the tile, or the chosen one."""

    shape: tuple[int, int, int, int]
    filters: int
    attrs: ConvTransposeAttrs
    bias: bool = True
    extra: Halo = (0, 0, 0, 0)
    out_halo: Halo = (0, 0, 0, 0)
    tile: TransposedTile | None = None

    def kernel(self, isa: Isa) -> ConvTransposeKernel:
        (n, c, h, w), a = self.shape, self.attrs
        oh, ow = a.output((h, w))
        rows, columns = phases_of(a.kernel_size, a.stride, a.dilation, a.pads, (oh, ow))
        (top, bottom), (left, right) = rows.reach(h), columns.reach(w)
        halo = tuple(p + e for p, e in zip((top, left, bottom, right), self.extra, strict=True))
        x = ImageBuffer(n, c, h, w, isa.lanes, halo)
        y = ImageBuffer(n, self.filters, oh, ow, isa.lanes, self.out_halo)
        kernel = ConvTransposeKernel(
            x, y, a.kernel_size, a.stride, a.dilation, a.pads, a.groups, self.bias, a.activation
        )
        return choose_transposed(kernel, isa) if self.tile is None else replace(kernel, tile=self.tile)

    def operands(self) -> tuple[Array, Array, Array | None]:
        rng = np.random.default_rng(sum(self.shape))
        shape = (self.shape[1], self.filters // self.attrs.groups, *self.attrs.kernel_size)
        weight = rng.standard_normal(shape, dtype=np.float32) / np.float32(math.sqrt(shape[0]))
        bias = rng.standard_normal(self.filters, dtype=np.float32) if self.bias else None
        return rng.standard_normal(self.shape, dtype=np.float32), weight, bias


Attrs = ConvTransposeAttrs
RELU = Activation(ActivationKind.RELU)
SIGMOID = Activation(ActivationKind.SIGMOID)
CASES = {
    "2x2 stride 2": Case((2, 32, 5, 7), 48, Attrs((2, 2), (2, 2)), out_halo=(1, 1, 1, 1)),
    "3x3 stride 2, output padding": Case(
        (1, 40, 6, 5), 24, Attrs((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), activation=RELU), out_halo=(2, 0, 1, 3)
    ),
    "3x3 stride 2, odd": Case((1, 17, 6, 5), 16, Attrs((3, 3), (2, 2), (1, 1, 1, 1)), extra=(1, 2, 0, 1)),
    "4x4 stride 2": Case((1, 16, 9, 9), 21, Attrs((4, 4), (2, 2), (1, 1, 1, 1)), bias=False),
    "16x16 stride 8": Case((1, 21, 3, 4), 21, Attrs((16, 16), (8, 8), (4, 4, 4, 4)), bias=False),
    "stride 1": Case(
        (1, 20, 7, 6), 33, Attrs((3, 3), (1, 1), (1, 1, 1, 1), activation=SIGMOID), extra=(0, 1, 2, 0)
    ),
    "dilated": Case((1, 9, 6, 7), 12, Attrs((3, 2), (2, 3), (2, 0, 1, 1), (1, 2), (2, 3)), out_halo=(0, 1, 0, 0)),
    "dilated with the stride": Case((1, 9, 6, 7), 12, Attrs((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (2, 2))),
    "gaps": Case((1, 6, 4, 3), 20, Attrs((1, 2), (3, 3), activation=SIGMOID)),
    "fewer pixels than the stride": Case((1, 6, 1, 1), 20, Attrs((5, 5), (4, 4), (1, 1, 1, 2))),
    "groups": Case((1, 32, 4, 4), 64, Attrs((3, 3), (2, 2), (1, 0, 0, 1), groups=2)),
    "depthwise": Case((1, 21, 4, 4), 21, Attrs((4, 4), (2, 2), (1, 1, 1, 1), groups=21), bias=False),
    "one pixel": Case((1, 40, 1, 1), 16, Attrs((4, 4))),
    "overlapping tiles": Case((1, 16, 5, 7), 80, Attrs((3, 3), (2, 2)), tile=TransposedTile(2, 2, 3)),
}


@pytest.fixture(autouse=True)
def built(run_kernel: Any, isa: Isa) -> None:
    run_kernel.build((case.kernel(isa) for case in CASES.values()), isa)


@pytest.mark.parametrize("name", CASES)
def test_conv_transpose(name: str, isa: Isa, run_split: Any) -> None:
    case = CASES[name]
    kernel = case.kernel(isa)
    x, weight, bias = case.operands()
    arrays = {"x": to_physical(x, kernel.input.type.layout)}
    arrays |= dict(zip(("weight", "bias"), kernel.pack(weight, bias), strict=False))
    y = run_split(kernel, arrays, isa)
    wide = [None if a is None else a.astype(np.float64) for a in (x, weight, bias)]
    linear = replace(case.attrs, activation=None)
    (value,) = CONV_TRANSPOSE.reference(linear, wide)
    (terms,) = CONV_TRANSPOSE.reference(linear, [None if a is None else np.abs(a) for a in wide])
    n = math.prod(weight.shape[:1] + weight.shape[2:]) + 1
    # Neither activation stretches an error; a sigmoid adds a few units in the last place of its own.
    error = n * U / (1 - n * U) * terms
    if case.attrs.activation is not None:
        value, error = case.attrs.activation(value), error + 16 * U
    assert (np.abs(from_physical(y, kernel.output.type) - value) <= error).all()
    # Zeros everywhere else: the halo, and the channels past the last.
    physical = y.reshape(kernel.output.type.physical_shape)
    np.testing.assert_array_equal(
        physical, to_physical(from_physical(y, kernel.output.type), kernel.output.type.layout)
    )


def test_phases_share_out_every_tap_and_every_pixel() -> None:
    for kernel, stride, dilation, before, out in (
        (3, 2, 1, 1, 9),
        (16, 8, 1, 4, 31),
        (3, 4, 6, 2, 15),
        (2, 5, 1, 0, 3),
    ):
        phases = Phases.of(kernel, stride, dilation, before, out)
        assert sum(phases.pixels) == out
        assert max(phases.pixels) - min(phases.pixels) <= 1
        for phase, (first, count, base) in enumerate(zip(phases.firsts, phases.counts, phases.bases, strict=True)):
            for j in range(count):
                # Output pixel = input pixel * stride + tap * dilation - padding.
                tap, pixel = first + j * phases.apart, base - j * phases.step
                assert pixel * stride + tap * dilation - before == phase
        if out >= stride:
            assert sum(phases.counts) == kernel


def test_the_best_tile_of_a_large_layer_fills_the_registers(isa: Isa) -> None:
    kernel = Case((1, 256, 32, 32), 128, Attrs((2, 2), (2, 2))).kernel(isa)
    tile = kernel.tile
    used = tile.oc_blocks * tile.height * tile.width + tile.oc_blocks + 1
    assert isa.registers / 2 <= used <= isa.registers


POOLS = {
    "tiles": ((2, 3, 8, 6), PoolAttrs((2, 2), (2, 2))),
    "a row and a column left over": ((1, 20, 9, 7), PoolAttrs((2, 2), (2, 2))),
    "ceil": ((1, 5, 9, 7), PoolAttrs((2, 2), (2, 2), ceil_mode=True)),
    "overlapping": ((1, 16, 9, 11), PoolAttrs((3, 3), (2, 2), (1, 1, 1, 1))),
    "dilated": ((1, 4, 12, 11), PoolAttrs((3, 2), (2, 3), (1, 0, 1, 1), (2, 3))),
    "gaps": ((1, 4, 8, 9), PoolAttrs((2, 2), (3, 3))),
}


@pytest.mark.parametrize("name", POOLS)
def test_pooling_with_indices_and_unpooling(name: str, isa: Isa, run_kernel: Any, poisoned: Any) -> None:
    (n, c, h, w), attrs = POOLS[name]
    oh, ow = attrs.output((h, w))
    x = ImageBuffer(n, c, h, w, isa.lanes, (1, 0, 2, 1))
    y = ImageBuffer(n, c, oh, ow, isa.lanes, (0, 1, 1, 2))
    where = ImageBuffer(n, c, oh, ow, isa.lanes)
    window = (attrs.kernel_size, attrs.stride, attrs.pads, attrs.dilation)
    pool, unpool = PoolIndices(x, y, where, *window), Unpool(y, where, replace(x, halo=(2, 1, 0, 0)), *window)
    run_kernel.build([pool, unpool], isa)
    rng = np.random.default_rng(4)
    # Many equal maxima, a NaN, and a window of nothing but minus infinity.
    image = np.round(rng.standard_normal((n, c, h, w)) * 2).astype(np.float32) - 4
    image[0, 1, h // 2, 2] = np.nan
    image[0, 0, :3, :3] = -np.inf
    expected, places = MAX_POOL_INDICES.reference(attrs, (image,))
    values = rng.standard_normal(expected.shape, dtype=np.float32)
    if attrs.stride < attrs.kernel_size or attrs.dilation != (1, 1):
        values = np.nan_to_num(expected, neginf=-9)
    # The window of the unpooling only gives the size of the image.
    whole = MaxUnpoolAttrs((h - oh + 1, w - ow + 1))
    (spread,) = MAX_UNPOOL.reference(whole, (values, places))
    for threads in (1, 3):
        out = run_kernel(pool, {"x": poisoned(image, x)}, isa, threads)
        np.testing.assert_array_equal(from_physical(out["y"], y.type), expected)
        planes = np.arange(n * c).reshape(n, c, 1, 1) * h * w
        found = from_physical(out["indices"], where.type)
        np.testing.assert_array_equal(found + planes, places)
        np.testing.assert_array_equal(out["indices"], to_physical(found, where.type.layout).reshape(-1))
        feeds = {"x": to_physical(values, y.type.layout), "indices": out["indices"]}
        back = run_kernel(unpool, feeds, isa, threads)["y"]
        np.testing.assert_array_equal(back, to_physical(spread, unpool.y.type.layout).reshape(-1))


def test_refuses_what_does_not_fit() -> None:
    x, y = ImageBuffer(1, 16, 8, 8, 16), ImageBuffer(1, 16, 4, 4, 16)
    with pytest.raises(ValueError, match="neither batch, channels nor block"):
        PoolIndices(x, ImageBuffer(1, 32, 4, 4, 16), y, (2, 2), (2, 2))
    with pytest.raises(ValueError, match="do not fit"):
        Unpool(y, replace(y, halo=(1, 1, 1, 1)), x, (2, 2), (2, 2))
    big = ImageBuffer(1, 16, 4097, 4096, 16)
    with pytest.raises(ValueError, match="more than 16777216 pixels"):
        PoolIndices(big, y, y, (2, 2), (2, 2))
    with pytest.raises(ValueError, match="phases read 1 before and 0 behind axis 2"):
        ConvTransposeKernel(x, ImageBuffer(1, 16, 16, 16, 16), (3, 3), (2, 2))
    with pytest.raises(ValueError, match="does not fit"):
        ConvTransposeKernel(x, ImageBuffer(1, 16, 16, 16, 16), (2, 2), (2, 2), tile=TransposedTile(2, 1, 1))
