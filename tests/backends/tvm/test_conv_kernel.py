"""The direct convolution kernels against the float64 reference, over generated and hand-picked shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import AVX2, AVX512, ISAS, Isa
from cnnir.backends.tvm.x86.kernels.conv import ConvKernel, ConvTile, UnitOrder
from cnnir.backends.tvm.x86.kernels.conv_cost import candidates, choose
from cnnir.ir import DType, Layout, TensorType
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.conv import CONV, ConvAttrs

ACTIVATIONS = (
    None,
    *(
        Activation(kind, *constants)
        for kind, constants in {
            ActivationKind.RELU: (),
            ActivationKind.CLIP: (0.25, 1.5),  # does not keep zero
            ActivationKind.LEAKY_RELU: (0.1,),
            ActivationKind.ELU: (0.7,),
            ActivationKind.SIGMOID: (),
            ActivationKind.TANH: (),
            ActivationKind.HARD_SIGMOID: (0.2, 0.5),
            ActivationKind.HARD_SWISH: (),
            ActivationKind.SILU: (),
            ActivationKind.GELU: (),
            ActivationKind.EXP: (),
            ActivationKind.SQRT: (),
            ActivationKind.NEG: (),
            ActivationKind.ABS: (),
        }.items()
    ),
)


@dataclass(frozen=True)
class Case:
    """One convolution, and how it lies in memory; `block` 0 is the vector width, `tile` None the chosen one."""

    shape: tuple[int, int, int, int]
    filters: int
    attrs: ConvAttrs
    bias: bool = True
    residual: bool = False
    block: int = 0
    extra_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    out_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    residual_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    tile: ConvTile | None = None

    def kernel(self, isa: Isa) -> ConvKernel:
        n, c, h, w = self.shape
        a = self.attrs
        weight = TensorType(DType.F32, (self.filters, c // a.groups, *a.kernel_size))
        (out,) = CONV.infer(a, (TensorType(DType.F32, self.shape), weight, None, None))
        halo = tuple(p + e for p, e in zip(a.pads, self.extra_halo, strict=True))
        _, _, oh, ow = out.shape
        kernel = ConvKernel(
            input=ImageBuffer(n, c, h, w, self.block or isa.lanes, halo),
            output=ImageBuffer(n, self.filters, oh, ow, isa.lanes, self.out_halo),
            kernel_size=a.kernel_size,
            stride=a.stride,
            dilation=a.dilation,
            pads=a.pads,
            groups=a.groups,
            bias=self.bias,
            residual=ImageBuffer(n, self.filters, oh, ow, isa.lanes, self.residual_halo) if self.residual else None,
            activation=a.activation,
        )
        return choose(kernel, isa) if self.tile is None else replace(kernel, tile=self.tile)

    def operands(self) -> list[np.ndarray | None]:
        """x, weight, bias, residual."""
        rng = np.random.default_rng(hash(self.shape) % 2**32)
        weight_shape = (self.filters, self.shape[1] // self.attrs.groups, *self.attrs.kernel_size)
        x = rng.standard_normal(self.shape, dtype=np.float32)
        scale = np.float32(np.sqrt(np.prod(weight_shape[1:])))
        weight = rng.standard_normal(weight_shape, dtype=np.float32) / scale
        bias = rng.standard_normal(self.filters, dtype=np.float32) if self.bias else None
        if self.attrs.activation is not None and self.attrs.activation.kind == ActivationKind.SQRT:
            x, weight = np.abs(x), np.abs(weight) + np.float32(0.01)
            bias = np.abs(bias) if bias is not None else None
        (out,) = CONV.reference(self.attrs, (x, weight, None, None))
        residual = np.abs(rng.standard_normal(out.shape, dtype=np.float32)) if self.residual else None
        return [x, weight, bias, residual]


def generated() -> list[Case]:
    rng = np.random.default_rng(7)

    def some(*values: int) -> int:
        return int(rng.choice(values))

    cases = []
    for activation in ACTIVATIONS:
        groups = some(1, 1, 1, 2, 3)
        kernel = (some(1, 2, 3, 5), some(1, 3, 3, 4))
        dilation = (some(1, 1, 2), some(1, 1, 3))
        attrs = ConvAttrs(
            kernel,
            (some(1, 1, 2), some(1, 1, 2, 3)),
            (some(0, 1, 2), some(0, 1, 3), some(0, 1), some(0, 1, 2)),
            dilation,
            groups,
            activation,
        )
        shape = (some(1, 2), groups * some(1, 5, 16, 20), some(9, 10, 13), some(10, 11, 17))
        cases.append(
            Case(
                shape,
                groups * some(3, 8, 17, 32, 48),
                attrs,
                bias=bool(some(0, 1, 1)),
                residual=bool(some(0, 1)),
                extra_halo=(some(0, 1), some(0, 2), some(0, 1), some(0, 1)),
                out_halo=(some(0, 1, 2), some(0, 1), some(0, 1), some(0, 3)),
                residual_halo=(some(0, 1), some(0, 1), 0, some(0, 2)),
                # Small tiles compile faster; the chosen ones fill the registers.
                tile=ConvTile(1, some(1, 2), some(2, 3), order=UnitOrder.CHANNELS) if len(cases) % 3 else None,
            )
        )
    return cases


RELU = Activation(ActivationKind.RELU)
SIGMOID = Activation(ActivationKind.SIGMOID)
PICKED = [
    Case((1, 17, 1, 1), 33, ConvAttrs((1, 1))),
    Case((2, 40, 7, 7), 40, ConvAttrs((1, 1), activation=RELU), residual=True),
    Case((1, 32, 7, 7), 96, ConvAttrs((1, 1)), out_halo=(1, 1, 1, 1)),
    # The channels of an image in blocks of their own, plain, and padded to four.
    Case((1, 3, 21, 18), 24, ConvAttrs((7, 7), (2, 2), (3, 3, 3, 3)), block=3, out_halo=(1, 1, 1, 1)),
    Case((2, 3, 9, 9), 16, ConvAttrs((3, 3), (2, 2)), block=1),
    Case((1, 3, 9, 9), 16, ConvAttrs((3, 3), pads=(1, 1, 1, 1)), block=4),
    # Groups of four merge to blocks; one group a block; more filters than channels a group; the dense whole.
    Case((1, 64, 6, 6), 64, ConvAttrs((3, 3), pads=(1, 1, 1, 1), groups=16)),
    Case((1, 32, 6, 5), 64, ConvAttrs((3, 3), (2, 1), (1, 1, 1, 1), groups=2), residual=True),
    Case((1, 16, 6, 6), 32, ConvAttrs((3, 3), pads=(1, 1, 1, 1), groups=16)),
    Case((1, 12, 6, 6), 18, ConvAttrs((3, 3), pads=(1, 1, 1, 1), groups=6)),
    # Overlapping tiles of channels whose results go through the scratch buffer; uneven tiles in both directions.
    Case((1, 16, 7, 9), 48, ConvAttrs((3, 3), pads=(1, 1, 1, 1), activation=SIGMOID), tile=ConvTile(2, 2, 4, 2)),
    Case(
        (2, 20, 7, 5),
        40,
        ConvAttrs((1, 1), activation=SIGMOID),
        out_halo=(0, 1, 2, 0),
        tile=ConvTile(2, 3, 2, 4, UnitOrder.CHANNELS, prefetch=True),
    ),
    Case((1, 16, 1, 23), 16, ConvAttrs((1, 7), pads=(0, 3, 0, 3)), out_halo=(2, 0, 0, 1)),
]
CASES = [*generated(), *PICKED]


@pytest.fixture(scope="module")
def run(run_kernel, isa):
    """Runs a case (all are compiled at once); returns the physical output and its type."""
    kernels = [case.kernel(isa) for case in CASES]
    run_kernel.build(kernels, isa)

    def run(index: int, threads: int, operands) -> tuple[np.ndarray, TensorType]:
        kernel = kernels[index]
        x, weight, bias, residual = operands
        packed = kernel.pack(weight, bias)
        arrays = {
            "x": to_physical_buffer(x, kernel.input),
            "weight": packed[0],
            "bias": packed[1] if kernel.bias else None,
            "residual": None if kernel.residual is None else to_physical_buffer(residual, kernel.residual),
        }
        given = {name: array for name, array in arrays.items() if array is not None}
        return run_kernel(kernel, given, isa, threads)["y"], kernel.output.type

    return run


def to_physical_buffer(array: np.ndarray, buffer: ImageBuffer) -> np.ndarray:
    return to_physical(array, Layout(buffer.block, buffer.halo))


@pytest.mark.parametrize("index", range(len(CASES)))
def test_agrees_with_the_reference(index, run, bound):
    case = CASES[index]
    operands = case.operands()
    physical, type = run(index, 1, operands)
    actual = from_physical(physical, type)
    expected, error = bound(case.attrs, operands)
    assert np.isfinite(actual).all()
    assert (np.abs(actual - expected) <= error).all()
    # Halo and channels past the last are zeros, whatever was there before.
    assert np.array_equal(to_physical(actual, type.layout).reshape(-1), physical)
    for threads in (2, 3):
        assert np.array_equal(run(index, threads, operands)[0], physical)


def test_the_bound_rejects_a_lost_tap(bound):
    case = CASES[len(ACTIVATIONS) + 6]
    x, weight, bias, residual = case.operands()
    expected, error = bound(case.attrs, (x, weight, bias, residual))
    weight = weight.copy()
    weight[:, 0, 0, 0] = 0
    (wrong,) = CONV.reference(case.attrs, (x, weight, bias, residual))
    assert (np.abs(wrong - expected) > error).mean() > 0.5


def test_nan_and_infinity_pass_through_relu(run_kernel, isa):
    x = np.array([np.nan, np.inf, -np.inf], np.float32).reshape(1, 1, 1, 3)
    kernel = Case(x.shape, 16, ConvAttrs((1, 1), activation=RELU), bias=False, block=1).kernel(isa)
    (weight,) = kernel.pack(np.ones((16, 1, 1, 1), np.float32))
    out = run_kernel(kernel, {"x": x, "weight": weight}, isa)["y"]
    expected = np.broadcast_to(np.array([np.nan, np.inf, 0], np.float32), (16, 3))
    np.testing.assert_array_equal(from_physical(out, kernel.output.type)[0, :, 0], expected)


def resnet_layer(isa: Isa, c: int, h: int, o: int, k: int, **options) -> ConvKernel:
    p = k // 2
    x = ImageBuffer(1, c, h, h, isa.lanes, (p, p, p, p))
    return choose(ConvKernel(x, ImageBuffer(1, o, h, h, isa.lanes), (k, k), pads=(p, p, p, p), **options), isa)


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize(("c", "h", "o", "k"), [(64, 56, 64, 3), (256, 14, 1024, 1), (512, 7, 512, 3)])
def test_chosen_tiles_fill_the_registers(isa, c, h, o, k):
    kernel = resnet_layer(isa, c, h, o, k)
    height = kernel.row_split.size + bool(kernel.row_split.big)
    width = kernel.column_split.size + bool(kernel.column_split.big)
    accumulators = kernel.tile.oc_blocks * height * width
    assert isa.registers // 2 < accumulators <= isa.registers - 2
    assert kernel.units >= 8


def test_pointwise_convolutions_without_halo_are_flat():
    kernel = resnet_layer(AVX512, 64, 7, 64, 1)
    assert kernel.is_flat
    assert kernel.column_split.extent == 49
    assert not replace(kernel, output=replace(kernel.output, halo=(1, 1, 1, 1))).is_flat


def test_every_candidate_renders_and_covers_the_output():
    for kernel in candidates(resnet_layer(AVX2, 24, 7, 40, 3), AVX2):
        assert kernel.units >= 1
        assert "T.parallel" not in kernel.render("k")


def test_equal_layers_are_equal_kernels():
    first, second = (resnet_layer(AVX512, 256, 14, 256, 3, bias=True) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first.render("k") == second.render("k")


def test_packed_sizes_are_the_arguments():
    kernel = Case((1, 12, 6, 6), 18, ConvAttrs((3, 3), groups=6)).kernel(AVX512)
    packed = kernel.pack(np.ones((18, 2, 3, 3), np.float32), np.ones(18, np.float32))
    assert [p.size for p in packed] == [a.size for a in kernel.arguments if a.name in ("weight", "bias")]
    assert packed[0].sum() == 18 * 2 * 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pads": (1, 1, 1, 1)}, "reach past the input's halo"),
        ({"groups": 3}, "do not divide into 3 groups"),
        ({"kernel_size": (3, 3)}, "the window gives 4 pixels along axis 2, not 6"),
        ({"kernel_size": (7, 1)}, "the window gives 0 pixels along axis 2, not 6"),
        ({"residual": ImageBuffer(1, 16, 6, 6, 16)}, "does not fit the output"),
        ({"tile": ConvTile(3, 1, 1)}, "does not fit 2 channel blocks"),
        ({"tile": ConvTile(1, 1, 1, unroll=3)}, "cannot unroll 3"),
        ({"input": ImageBuffer(2, 16, 6, 6, 16)}, "batch 2 of the input, 1 of the output"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message):
    kernel = ConvKernel(ImageBuffer(1, 16, 6, 6, 16), ImageBuffer(1, 32, 6, 6, 16), (1, 1))
    with pytest.raises(ValueError, match=message):
        replace(kernel, **change)
