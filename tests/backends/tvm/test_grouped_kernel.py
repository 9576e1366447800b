"""Convolutions in narrow groups against the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import AVX2, AVX512, Isa
from cnnir.backends.tvm.x86.kernels.grouped import GroupedKernel, choose_grouped, is_narrow
from cnnir.ir import DType, Layout, TensorType
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.conv import CONV, ConvAttrs

RELU = Activation(ActivationKind.RELU)
CLIP = Activation(ActivationKind.CLIP, 0.25, 1.5)  # does not keep zero
SIGMOID = Activation(ActivationKind.SIGMOID)


@dataclass(frozen=True)
class Case:
    """One convolution with groups of `width` channels; `tile` (pixels of a row, rows) None for the chosen one."""

    shape: tuple[int, int, int, int]
    width: int
    attrs: ConvAttrs
    bias: bool = True
    residual: bool = False
    extra_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    out_halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    tile: tuple[int, int] | None = None

    def kernel(self, isa: Isa) -> GroupedKernel:
        n, c, h, w = self.shape
        weight = TensorType(DType.F32, (c, self.width, *self.attrs.kernel_size))
        (out,) = CONV.infer(self.attrs, (TensorType(DType.F32, self.shape), weight, None, None))
        halo = tuple(p + e for p, e in zip(self.attrs.pads, self.extra_halo, strict=True))
        output = ImageBuffer(n, c, *out.shape[2:], isa.lanes, self.out_halo)
        kernel = GroupedKernel(
            ImageBuffer(n, c, h, w, isa.lanes, halo),
            output,
            self.attrs.kernel_size,
            self.attrs.stride,
            self.attrs.dilation,
            self.attrs.pads,
            self.bias,
            replace(output, halo=(0, 1, 0, 2)) if self.residual else None,
            self.attrs.activation,
            group_width=self.width,
        )
        return (
            choose_grouped(kernel, isa)
            if self.tile is None
            else replace(kernel, width=self.tile[0], rows=self.tile[1])
        )

    def operands(self) -> list[np.ndarray | None]:
        rng = np.random.default_rng(sum(self.shape))
        weight_shape = (self.shape[1], self.width, *self.attrs.kernel_size)
        x = rng.standard_normal(self.shape, dtype=np.float32)
        weight = rng.standard_normal(weight_shape, dtype=np.float32)
        bias = rng.standard_normal(self.shape[1], dtype=np.float32) if self.bias else None
        (out,) = CONV.reference(replace(self.attrs, activation=None), (x, weight, None, None))
        residual = rng.standard_normal(out.shape, dtype=np.float32) if self.residual else None
        return [x, weight, bias, residual]


def attrs(
    groups: int, kernel=(3, 3), stride=(1, 1), pads=(1, 1, 1, 1), dilation=(1, 1), activation=RELU
) -> ConvAttrs:
    return ConvAttrs(kernel, stride, pads, dilation, groups, activation)


CASES = [
    Case((1, 32, 9, 13), 4, attrs(8), residual=True, out_halo=(1, 1, 1, 1)),
    Case((2, 24, 7, 6), 2, attrs(12, activation=CLIP), tile=(4, 3), out_halo=(0, 2, 1, 0)),
    Case((1, 32, 11, 12), 8, attrs(4, stride=(2, 2), activation=SIGMOID), extra_halo=(1, 0, 0, 2)),
    Case((1, 20, 5, 7), 4, attrs(5, (3, 2), (1, 2), (0, 1, 2, 0), (2, 1), None), bias=False, tile=(2, 2)),
    Case((1, 40, 1, 1), 8, attrs(5, (1, 1), pads=(0, 0, 0, 0)), residual=True),
]


@pytest.fixture(scope="module")
def run(run_kernel, isa):
    """Runs a case (all are compiled at once); returns the kernel and its physical output."""
    lanes = isa.lanes
    kernels = [case.kernel(isa) if lanes % case.width == 0 else None for case in CASES]
    run_kernel.build([k for k in kernels if k is not None], isa)

    def run(index: int, threads: int, operands) -> tuple[GroupedKernel, np.ndarray]:
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
def test_agrees_with_the_reference(index, run, bound):
    case = CASES[index]
    operands = case.operands()
    kernel, physical = run(index, 1, operands)
    actual = from_physical(physical, kernel.output.type)
    expected, error = bound(case.attrs, operands)
    assert np.isfinite(actual).all()
    assert (np.abs(actual - expected) <= error).all()
    # Halo and channels past the last are zeros, whatever was there before.
    assert np.array_equal(lay_out(actual, kernel.output).reshape(-1), physical)
    for threads in (2, 3):
        assert np.array_equal(run(index, threads, operands)[1], physical)


def test_the_bound_rejects_a_channel_of_another_group(bound):
    case = CASES[0]
    x, weight, bias, residual = case.operands()
    expected, error = bound(case.attrs, (x, weight, bias, residual))
    shifted = np.roll(x, 1, axis=1)
    (wrong,) = CONV.reference(case.attrs, (shifted, weight, bias, residual))
    assert (np.abs(wrong - expected) > error).mean() > 0.5


def test_groups_that_share_a_vector_are_narrow():
    assert is_narrow(128, 128, 32, AVX512.lanes)
    assert is_narrow(128, 128, 32, AVX2.lanes)
    assert not is_narrow(256, 256, 32, AVX2.lanes)  # a group fills a vector
    assert not is_narrow(128, 128, 128, AVX512.lanes)  # depthwise
    assert not is_narrow(128, 256, 32, AVX512.lanes)
    assert not is_narrow(96, 96, 32, AVX512.lanes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group_width": 3}, "groups of 3 channels in vectors of 16"),
        ({"group_width": 8}, "20 channels in groups of 8"),
        ({"pads": (1, 1, 1, 1)}, "reach past the input's halo"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message):
    image = ImageBuffer(1, 20, 6, 6, 16)
    kernel = GroupedKernel(image, image, (1, 1), group_width=4)
    with pytest.raises(ValueError, match=message):
        replace(kernel, **change)
