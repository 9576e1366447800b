"""The depthwise kernels against the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.depthwise import DepthwiseKernel, choose_depthwise
from cnnir.ir import DType, Layout, TensorType
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.conv import CONV, ConvAttrs

RELU6 = Activation(ActivationKind.CLIP, 0.0, 6.0)
SIGMOID = Activation(ActivationKind.SIGMOID)
SILU = Activation(ActivationKind.SILU)

# Input shape, attributes, bias, residual, halo of the output.
CASES = [
    ((1, 16, 7, 7), ConvAttrs((3, 3), pads=(1, 1, 1, 1), activation=RELU6), True, False, (0, 0, 0, 0)),
    ((2, 24, 8, 9), ConvAttrs((3, 3), (2, 2), (1, 1, 1, 1)), False, False, (1, 1, 1, 1)),
    ((1, 40, 15, 31), ConvAttrs((5, 5), pads=(2, 2, 2, 2), activation=SILU), True, True, (0, 1, 2, 0)),
    ((1, 5, 10, 9), ConvAttrs((5, 3), (2, 1), (2, 0, 1, 1)), True, True, (2, 0, 0, 3)),
    (
        (2, 20, 9, 11),
        ConvAttrs((3, 3), pads=(2, 2, 2, 2), dilation=(2, 2), activation=SIGMOID),
        True,
        False,
        (1,) * 4,
    ),
    ((1, 33, 1, 1), ConvAttrs((1, 1)), True, False, (0, 0, 0, 0)),
    ((1, 16, 3, 40), ConvAttrs((1, 9), (1, 3), (0, 4, 0, 4)), False, True, (0, 0, 1, 0)),
    ((1, 8, 14, 14), ConvAttrs((7, 7), pads=(3, 3, 3, 3), activation=SIGMOID), False, False, (0, 0, 0, 0)),
]
CASES = [(shape, replace(attrs, groups=shape[1]), *rest) for shape, attrs, *rest in CASES]


def kernel_of(index: int, isa: Isa) -> DepthwiseKernel:
    (n, c, h, w), a, bias, residual, halo = CASES[index]
    weight = TensorType(DType.F32, (c, 1, *a.kernel_size))
    (out,) = CONV.infer(a, (TensorType(DType.F32, (n, c, h, w)), weight, None, None))
    output = ImageBuffer(*out.shape, isa.lanes, halo)
    kernel = DepthwiseKernel(
        ImageBuffer(n, c, h, w, isa.lanes, a.pads),
        output,
        a.kernel_size,
        a.stride,
        a.dilation,
        a.pads,
        bias,
        replace(output, halo=(0, 1, 1, 0)) if residual else None,
        a.activation,
    )
    return choose_depthwise(kernel, isa)


def operands_of(index: int) -> list[np.ndarray | None]:
    shape, attrs, bias, residual, _ = CASES[index]
    rng = np.random.default_rng(index)
    x = rng.standard_normal(shape, dtype=np.float32)
    weight = rng.standard_normal((shape[1], 1, *attrs.kernel_size), dtype=np.float32)
    (out,) = CONV.reference(attrs, (x, weight, None, None))
    return [
        x,
        weight,
        rng.standard_normal(shape[1], dtype=np.float32) if bias else None,
        rng.standard_normal(out.shape, dtype=np.float32) if residual else None,
    ]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_agrees_with_the_reference(index, run_kernel, isa, bound):
    run_kernel.build([kernel_of(i, isa) for i in range(len(CASES))], isa)
    kernel = kernel_of(index, isa)
    x, weight, bias, residual = operands = operands_of(index)
    packed = kernel.pack(weight, bias)
    arrays = {"x": to_physical(x, kernel.input.type.layout), "weight": packed[0]}
    if bias is not None:
        arrays["bias"] = packed[1]
    if kernel.residual is not None:
        arrays["residual"] = to_physical(residual, Layout(isa.lanes, kernel.residual.halo))
    physical = run_kernel(kernel, arrays, isa)["y"]
    actual = from_physical(physical, kernel.output.type)
    expected, error = bound(CASES[index][1], operands)
    assert np.isfinite(actual).all()
    assert (np.abs(actual - expected) <= error).all()
    assert np.array_equal(to_physical(actual, kernel.output.type.layout).reshape(-1), physical)
    for threads in (2, 5):
        assert np.array_equal(run_kernel(kernel, arrays, isa, threads)["y"], physical)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": ImageBuffer(1, 32, 5, 5, 16)}, "depthwise from 16 channels by 16 to 32 by 16"),
        ({"pads": (2, 2, 2, 2)}, "reach past the input's halo"),
        ({"stride": (2, 1)}, "the window gives 3 pixels along axis 2, not 5"),
        ({"width": 0}, "impossible tile"),
        ({"residual": ImageBuffer(1, 16, 5, 4, 16)}, "does not fit the output"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message):
    x = ImageBuffer(1, 16, 5, 5, 16, (1, 1, 1, 1))
    kernel = DepthwiseKernel(x, ImageBuffer(1, 16, 5, 5, 16), (3, 3), pads=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=message):
        replace(kernel, **change)
