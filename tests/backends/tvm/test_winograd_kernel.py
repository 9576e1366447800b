"""The Winograd kernels against the float64 reference, with a bound from the constants of the transforms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import AVX2, AVX512, ISAS, Isa
from cnnir.backends.tvm.x86.kernels.conv import ConvKernel
from cnnir.backends.tvm.x86.kernels.conv_cost import choose
from cnnir.backends.tvm.x86.kernels.winograd import WinogradKernel, WinogradTile
from cnnir.backends.tvm.x86.kernels.winograd_cost import candidates, choose_winograd
from cnnir.backends.tvm.x86.kernels.winograd_transform import Transform, floats, transform
from cnnir.ir import Layout
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.conv import CONV, ConvAttrs

U = 2.0**-24
RELU = Activation(ActivationKind.RELU)
CLIP = Activation(ActivationKind.CLIP, 0.25, 1.5)  # does not keep zero
SIGMOID = Activation(ActivationKind.SIGMOID)
SLOPE = 1.2
"""At least that of every activation here."""


@dataclass(frozen=True)
class Case:
    """One convolution, and how it lies in memory; `tile` None is the one of least estimated cost."""

    shape: tuple[int, int, int, int]
    filters: int
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    bias: bool = True
    residual: bool = False
    activation: Activation | None = RELU
    extra_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    out_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    residual_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    tile: WinogradTile | None = None

    @property
    def attrs(self) -> ConvAttrs:
        return ConvAttrs((3, 3), pads=self.pads, activation=self.activation)

    def kernel(self, isa: Isa) -> WinogradKernel:
        n, c, h, w = self.shape
        top, left, bottom, right = self.pads
        oh, ow = h + top + bottom - 2, w + left + right - 2
        halo = tuple(p + e for p, e in zip(self.pads, self.extra_halo, strict=True))
        residual = ImageBuffer(n, self.filters, oh, ow, isa.lanes, self.residual_halo)
        kernel = WinogradKernel(
            input=ImageBuffer(n, c, h, w, isa.lanes, halo),
            output=ImageBuffer(n, self.filters, oh, ow, isa.lanes, self.out_halo),
            pads=self.pads,
            bias=self.bias,
            residual=residual if self.residual else None,
            activation=self.activation,
        )
        if self.tile is None:
            return choose_tile(kernel, isa)
        chunk = min(self.tile.chunk, kernel.output.blocks // self.tile.oc_blocks * self.tile.oc_blocks)
        return replace(kernel, tile=replace(self.tile, chunk=chunk))

    def operands(self) -> list[np.ndarray | None]:
        """x, weight, bias, residual."""
        rng = np.random.default_rng(sum(self.shape) + self.filters)
        c = self.shape[1]
        x = rng.standard_normal(self.shape, dtype=np.float32)
        weight = rng.standard_normal((self.filters, c, 3, 3), dtype=np.float32) / np.float32(np.sqrt(9 * c))
        bias = rng.standard_normal(self.filters, dtype=np.float32) if self.bias else None
        (out,) = CONV.reference(replace(self.attrs, activation=None), (x, weight, None, None))
        residual = rng.standard_normal(out.shape, dtype=np.float32) if self.residual else None
        return [x, weight, bias, residual]


def choose_tile(kernel: WinogradKernel, isa: Isa) -> WinogradKernel:
    direct = ConvKernel(
        kernel.input, kernel.output, (3, 3), pads=kernel.pads, bias=kernel.bias, activation=kernel.activation
    )
    chosen = choose_winograd(choose(replace(direct, residual=kernel.residual), isa), isa)
    assert chosen is not None
    return chosen


def generated() -> list[Case]:
    rng = np.random.default_rng(11)

    def some(*values: int) -> int:
        return int(rng.choice(values))

    cases = []
    for i in range(12):
        outputs, oc_blocks = (4, 4, 2)[i % 3], some(1, 1, 2)
        cases.append(
            Case(
                (some(1, 1, 2), some(1, 5, 16, 20, 33), some(3, 4, 7, 9, 12), some(3, 5, 8, 11, 17)),
                some(17, 32, 40, 48, 70),
                (some(0, 1, 1, 2), some(0, 1, 1, 3), some(0, 1, 1, 2), some(0, 1, 1)),
                bias=bool(some(0, 1, 1)),
                residual=bool(some(0, 1)),
                activation=(RELU, None, CLIP, SIGMOID)[i % 4],
                extra_halo=(some(0, 1), some(0, 2), some(0, 1), some(0, 1)),
                out_halo=(some(0, 1, 2), some(0, 1), some(0, 1), some(0, 3)),
                residual_halo=(some(0, 1), some(0, 1), 0, some(0, 2)),
                tile=WinogradTile(outputs, some(1, 3, 7), oc_blocks * some(1, 2), oc_blocks, some(1, 2, 4)),
            )
        )
    return cases


PICKED = [
    Case((1, 16, 1, 1), 16, tile=WinogradTile(4)),
    Case((1, 16, 8, 8), 16, tile=WinogradTile(4, 4, 1, 1, 4)),  # whole tiles alone
    Case((1, 48, 14, 14), 80, residual=True, out_halo=(1, 1, 1, 1)),
    Case((3, 24, 7, 6), 24, (0, 0, 0, 0), activation=CLIP, tile=WinogradTile(4, 3, 1, 1, 2)),
    # Chunks that overlap, of channels past the last; groups of tiles that overlap.
    Case((1, 20, 13, 10), 44, residual=True, activation=SIGMOID, tile=WinogradTile(2, 16, 2, 1, 5)),
]
CASES = [*generated(), *PICKED]


def bounded(case: Case, kernel: WinogradKernel, operands) -> tuple[np.ndarray, np.ndarray]:
    """The float64 result, and how far float32 may be from it (see `WinogradKernel`).

    A term of the result passes at most size roundings in each of four passes of a transform, one of its weight,
    the products and the sum over channels, bias and residual: k = 4 size + C + 3, and an error of at most
    k u / (1 - k u) times the sum of absolute terms in the transformed domain.
    """
    t = kernel.transform
    x, weight, bias, residual = (None if a is None else a.astype(np.float64) for a in operands)
    (value,) = CONV.reference(replace(case.attrs, activation=None), (x, weight, bias, residual))
    a, g, b = (np.abs(floats(m)) for m in (t.at, t.g, t.bt))
    top, left, bottom, right = case.pads
    padded = np.pad(np.abs(x), ((0, 0), (0, 0), (top, bottom), (left, right)))
    m, (n, o, oh, ow) = t.outputs, value.shape
    rows, columns = -(-oh // m), -(-ow // m)
    # Tiles past the last padded row or column read that one again.
    extra = (rows * m + 2 - padded.shape[2], columns * m + 2 - padded.shape[3])
    padded = np.pad(padded, ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])), mode="edge")
    filters = g @ np.abs(weight) @ g.T
    terms = np.zeros((n, o, rows * m, columns * m))
    for i, j in product(range(rows), range(columns)):
        patch = padded[:, :, i * m : i * m + t.size, j * m : j * m + t.size]
        products = np.einsum("ocij,ncij->noij", filters, b @ patch @ b.T)
        terms[:, :, i * m : (i + 1) * m, j * m : (j + 1) * m] = a @ products @ a.T
    terms = terms[:, :, :oh, :ow]
    for other in (None if bias is None else bias[:, None, None], residual):
        terms = terms if other is None else terms + np.abs(other)
    k = 4 * t.size + case.shape[1] + 3
    error = k * U / (1 - k * U) * terms
    if case.activation is None:
        return value, error
    expected = case.activation(value)
    return expected, SLOPE * error + 16 * U * np.abs(expected)


@pytest.fixture(scope="module")
def run(run_kernel, isa):
    """Runs a case (all are compiled at once); returns the kernel and its physical output."""
    kernels = [case.kernel(isa) for case in CASES]
    run_kernel.build(kernels, isa)

    def run(index: int, threads: int, operands) -> tuple[WinogradKernel, np.ndarray]:
        kernel = kernels[index]
        x, weight, bias, residual = operands
        arrays = {"x": lay_out(x, kernel.input)}
        arrays |= dict(zip(("weight", "bias"), kernel.pack(weight, bias), strict=False))
        if kernel.residual is not None:
            arrays["residual"] = lay_out(residual, kernel.residual)
        return kernel, run_kernel(kernel, arrays, isa, threads)["y"]

    return run


def lay_out(array: np.ndarray, buffer: ImageBuffer) -> np.ndarray:
    return to_physical(array, Layout(buffer.block, buffer.halo))


@pytest.mark.parametrize("index", range(len(CASES)))
def test_agrees_with_the_reference(index, run):
    operands = CASES[index].operands()
    kernel, physical = run(index, 1, operands)
    actual = from_physical(physical, kernel.output.type)
    expected, error = bounded(CASES[index], kernel, operands)
    assert np.isfinite(actual).all()
    assert (np.abs(actual - expected) <= error).all()
    # Halo and channels past the last are zeros, whatever was there before.
    assert np.array_equal(lay_out(actual, kernel.output).reshape(-1), physical)
    for threads in (2, 3):
        assert np.array_equal(run(index, threads, operands)[1], physical)


@pytest.mark.parametrize("outputs", [2, 4])
def test_the_bound_rejects_a_lost_tap(outputs):
    case = Case((1, 16, 12, 12), 16, activation=None, tile=WinogradTile(outputs))
    kernel = case.kernel(AVX512)
    x, weight, bias, residual = case.operands()
    expected, error = bounded(case, kernel, (x, weight, bias, residual))
    weight[:, 0, 1, 1] = 0
    (wrong,) = CONV.reference(case.attrs, (x, weight, bias, residual))
    assert (np.abs(wrong - expected) > error).mean() > 0.9


def test_error_is_of_the_size_of_the_direct_sum(run_kernel, isa):
    """Relative RMS of sums of 144 rectified channels: 2.1 times the direct sum's with these points, not 5 times."""
    rng = np.random.default_rng(0)
    case = Case((1, 64, 24, 24), 16, bias=False, activation=None, tile=WinogradTile(4, 36, 1, 1, 6))
    kernel = case.kernel(isa)
    x = np.maximum(rng.standard_normal(case.shape, dtype=np.float32), 0)
    weight = rng.standard_normal((16, 64, 3, 3), dtype=np.float32)
    (expected,) = CONV.reference(case.attrs, (x.astype(np.float64), weight.astype(np.float64), None, None))
    arrays = {"x": lay_out(x, kernel.input), "weight": kernel.pack(weight)[0]}
    actual = from_physical(run_kernel(kernel, arrays, isa)["y"], kernel.output.type)
    rms = np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2))
    assert 5e-8 < rms < 1e-6


def test_a_nan_reaches_the_outputs_that_read_it(run_kernel, isa):
    case = Case((1, 1, 8, 8), 16, bias=False, tile=WinogradTile(4, 4, 1, 1, 2))
    kernel = case.kernel(isa)
    x = np.ones(case.shape, np.float32)
    x[0, 0, 1, 1] = np.nan
    arrays = {"x": lay_out(x, kernel.input), "weight": kernel.pack(np.ones((16, 1, 3, 3), np.float32))[0]}
    y = from_physical(run_kernel(kernel, arrays, isa)["y"], kernel.output.type)
    assert np.isnan(y[0, :, :3, :3]).all()
    assert np.isfinite(y[0, :, 4:, 4:]).all()


# -- transforms


@pytest.mark.parametrize("outputs", [2, 4])
def test_transforms_are_exact_convolutions(outputs):
    """For every tap and every input alone, in rational numbers: bilinearity does the rest."""
    t = transform(outputs)
    for tap, position in product(range(t.taps), range(t.size)):
        g = [row[tap] for row in t.g]
        d = [row[position] for row in t.bt]
        y = [sum((a * u * v for a, u, v in zip(row, g, d, strict=True)), Fraction(0)) for row in t.at]
        assert y == [Fraction(int(i + tap == position)) for i in range(outputs)]


@pytest.mark.parametrize("outputs", [2, 4])
def test_constants_are_exact_in_float32(outputs):
    for row in (*transform(outputs).at, *transform(outputs).bt):
        assert all(Fraction(float(np.float32(float(v)))) == v for v in row)


def test_the_customary_transform_is_that_of_the_literature():
    """B^T of F(2x2, 3x3): Lavin and Gray, section 4.1, up to the signs of rows."""
    bt = floats(Transform(2, 3, (Fraction(0), Fraction(1), Fraction(-1))).bt)
    literature = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    for ours, theirs in zip(bt, literature, strict=True):
        assert np.array_equal(ours, theirs) or np.array_equal(ours, -theirs)


def test_a_repeated_point_is_refused():
    with pytest.raises(ValueError, match="needs 3 points"):
        Transform(2, 3, (Fraction(0), Fraction(1), Fraction(1)))


# -- the choice


def layer(isa: Isa, c: int, h: int, o: int, **options) -> ConvKernel:
    x = ImageBuffer(1, c, h, h, isa.lanes, (1, 1, 1, 1))
    return choose(ConvKernel(x, ImageBuffer(1, o, h, h, isa.lanes), (3, 3), pads=(1, 1, 1, 1), **options), isa)


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize(
    ("c", "h", "o"), [(64, 56, 64), (128, 28, 128), (256, 14, 256), (512, 28, 512), (64, 224, 64)]
)
def test_large_layers_are_winograd(isa, c, h, o):
    kernel = choose_winograd(layer(isa, c, h, o), isa)
    assert kernel is not None
    tile = kernel.tile
    assert tile.outputs == 4
    assert isa.registers // 2 <= tile.oc_blocks * kernel.group_width < isa.registers
    assert kernel.units >= 4


def test_few_channels_and_other_convolutions_stay_direct():
    assert choose_winograd(layer(AVX512, 3, 32, 16), AVX512) is None
    grouped = layer(AVX512, 64, 56, 64, groups=2)
    assert choose_winograd(grouped, AVX512) is None
    x, y = ImageBuffer(1, 64, 56, 56, 16, (1, 1, 1, 1)), ImageBuffer(1, 64, 28, 28, 16)
    strided = choose(ConvKernel(x, y, (3, 3), (2, 2), pads=(1, 1, 1, 1)), AVX512)
    assert choose_winograd(strided, AVX512) is None


def test_every_candidate_covers_the_output():
    for kernel in candidates(Case((1, 24, 7, 9), 40, tile=WinogradTile()).kernel(AVX2), AVX2):
        assert kernel.units == kernel.tile_split.count * kernel.chunks
        assert kernel.tile_split.count * kernel.most_tiles >= kernel.tile_split.extent
        assert kernel.group_split.count * kernel.group_width >= kernel.most_tiles


def test_packed_sizes_are_the_arguments():
    kernel = Case((1, 12, 6, 6), 40, tile=WinogradTile(4, 1, 2, 2)).kernel(AVX512)
    packed = kernel.pack(np.ones((40, 12, 3, 3), np.float32), np.ones(40, np.float32))
    assert [p.size for p in packed] == [a.size for a in kernel.arguments if a.name in ("weight", "bias")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pads": (1, 1, 1, 1)}, "reach past the input's halo"),
        ({"output": ImageBuffer(1, 32, 5, 4, 16)}, "the window gives 4 pixels along axis 2, not 5"),
        ({"residual": ImageBuffer(1, 16, 4, 4, 16)}, "does not fit the output"),
        ({"tile": WinogradTile(4, 1, 3)}, "does not fit 2 channel blocks"),
        ({"tile": WinogradTile(4, 1, 2, 3)}, "does not fit 2 channel blocks"),
        ({"tile": WinogradTile(3)}, "impossible tile"),
        ({"input": ImageBuffer(1, 16, 6, 6, 8)}, "blocks of 8 and of 16 channels"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message):
    kernel = WinogradKernel(ImageBuffer(1, 16, 6, 6, 16), ImageBuffer(1, 32, 4, 4, 16))
    with pytest.raises(ValueError, match=message):
        replace(kernel, **change)
