"""Convolution (ONNX `Conv`), with its epilogue as data: bias, residual addition, activation, in that order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType, Window
from cnnir.ir.registry import register
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.axes import same_dtype
from cnnir.ops.spatial import NO_PADS, Pads, Pair, check_window, image, output_size, pad_image, patches


@dataclass(frozen=True)
class ConvAttrs(Attrs):
    """`pads` in ONNX order (top, left, bottom, right); `activation` is applied after bias and residual."""

    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: Activation | None = None

    def __post_init__(self) -> None:
        check_window(self.kernel_size, self.stride, self.dilation, self.pads)
        if self.groups < 1:
            raise ShapeError(f"Expected groups of at least 1, got {self.groups}.")


_PATCH_ELEMENTS = 1 << 20
"""Elements of the largest matrix of patches: it stays near the caches, whatever the size of the image."""


def convolve(attrs: ConvAttrs, x: Array, weight: Array) -> Array:
    """The bare convolution of an already padded input, `[N, O, OH, OW]`, by matrix products where they help."""
    (kh, kw), (sh, sw), (dh, dw), g = attrs.kernel_size, attrs.stride, attrs.dilation, attrs.groups
    n, channels = x.shape[:2]
    filters, c = weight.shape[:2]
    oh = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    dtype = np.result_type(x, weight)

    if c == 1:
        # Depthwise: one multiplication a filter tap, over all channels at once.
        y = np.zeros((n, g, filters // g, oh, ow), dtype)
        taps = weight.reshape(g, filters // g, kh, kw, 1, 1)
        for i, j in itertools.product(range(kh), range(kw)):
            pixels = x[:, :, i * dh :, j * dw :][:, :, : (oh - 1) * sh + 1 : sh, : (ow - 1) * sw + 1 : sw]
            y += pixels[:, :, None] * taps[:, :, i, j]
        return y.reshape(n, filters, oh, ow)

    matrix = weight.reshape(g, filters // g, c * kh * kw)
    if kh == kw == 1:
        y = np.asarray(np.matmul(matrix, x[:, :, ::sh, ::sw].reshape(n, g, c, oh * ow)))
        return y.reshape(n, filters, oh, ow)

    y = np.empty((n, g, filters // g, oh, ow), dtype)
    windows = patches(x, attrs.kernel_size, attrs.stride, attrs.dilation, (oh, ow))
    step = max(1, _PATCH_ELEMENTS // (channels * kh * kw * ow))
    for i, top in itertools.product(range(n), range(0, oh, step)):
        part = windows[i, :, top : top + step].transpose(0, 3, 4, 1, 2)
        product = np.matmul(matrix, part.reshape(g, c * kh * kw, -1))
        y[i, :, :, top : top + step] = product.reshape(g, filters // g, -1, ow)
    return y.reshape(n, filters, oh, ow)


class Conv(Operator[ConvAttrs]):
    """ONNX `Conv`, plus optional residual and activation.

    Shapes: x `[N, C, H, W]`, weight `[O, C/groups, KH, KW]`, bias `[O]`, residual and output `[N, O, OH, OW]`.
    """

    name = "Conv"
    ports: ClassVar = (
        Port("x"),
        Port("weight", parameter=True),
        Port("bias", optional=True, parameter=True),
        Port("residual", optional=True),
    )
    attrs_type = ConvAttrs

    def infer(self, attrs: ConvAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weight, bias, residual = image(inputs[0], self.name), inputs[1], inputs[2], inputs[3]
        assert weight is not None
        n, channels, h, w = x.shape
        if channels % attrs.groups:
            raise ShapeError(f"{channels} input channels do not divide into {attrs.groups} groups.")
        expected = (channels // attrs.groups, *attrs.kernel_size)
        if weight.rank != 4 or weight.shape[1:] != expected:
            raise ShapeError(f"Expected a weight of shape [O,{','.join(map(str, expected))}], got {weight}.")
        same_dtype(self.name, x, weight)
        filters = weight.shape[0]
        if filters % attrs.groups:
            raise ShapeError(f"{filters} filters do not divide into {attrs.groups} groups.")
        if bias is not None and bias.shape != (filters,):
            raise ShapeError(f"Expected a bias of shape [{filters}], got {bias}.")
        top, left, bottom, right = attrs.pads
        oh = output_size(h, attrs.kernel_size[0], attrs.stride[0], attrs.dilation[0], top, bottom)
        ow = output_size(w, attrs.kernel_size[1], attrs.stride[1], attrs.dilation[1], left, right)
        out = TensorType(x.dtype, (n, filters, oh, ow))
        if residual is not None and residual.shape != out.shape:
            raise ShapeError(f"Expected a residual of type {out}, got {residual}.")
        return (out,)

    def reference(self, attrs: ConvAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, weight, bias, residual = inputs
        assert x is not None and weight is not None
        y = convolve(attrs, pad_image(x, attrs.pads), weight)
        if bias is not None:
            y += bias[:, None, None]
        if residual is not None:
            y += residual
        return (y if attrs.activation is None else attrs.activation(y),)

    def cost(self, attrs: ConvAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        weight = inputs[1]
        assert weight is not None
        out = outputs[0].size
        macs = out * weight.shape[1] * weight.shape[2] * weight.shape[3]
        extra = (inputs[2] is not None) + (inputs[3] is not None) + (attrs.activation is not None)
        return Cost(macs, 2 * macs + out * extra)

    def window(self, attrs: ConvAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        return Window(attrs.kernel_size, attrs.stride, attrs.dilation, attrs.pads[:2])

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[ConvAttrs]]:
        relu = Activation(ActivationKind.RELU)
        cases: list[tuple[tuple[int, ...], int, ConvAttrs, bool, bool]] = [
            # input shape, filters, attributes, bias, residual
            ((1, 3, 9, 11), 8, ConvAttrs((3, 3), pads=(1, 1, 1, 1)), True, False),
            ((2, 16, 7, 7), 32, ConvAttrs((1, 1), activation=relu), True, True),
            ((1, 16, 8, 8), 16, ConvAttrs((3, 3), (2, 2), (0, 0, 1, 1)), False, False),
            ((1, 5, 12, 10), 7, ConvAttrs((5, 3), (2, 1), (2, 0, 1, 1)), True, True),
            ((1, 8, 9, 9), 12, ConvAttrs((3, 3), pads=(2, 2, 2, 2), dilation=(2, 2)), True, False),
            ((1, 32, 6, 6), 48, ConvAttrs((3, 3), pads=(1, 1, 1, 1), groups=2), True, False),
            ((1, 12, 6, 6), 24, ConvAttrs((3, 3), pads=(1, 1, 1, 1), groups=4), False, True),
            ((2, 24, 8, 8), 24, ConvAttrs((3, 3), (2, 2), (1, 1, 1, 1), groups=24, activation=relu), True, False),
            ((1, 4, 8, 8), 8, ConvAttrs((5, 5), pads=(2, 2, 2, 2), groups=4), True, False),
            ((1, 17, 1, 1), 33, ConvAttrs((1, 1)), True, False),
            ((1, 16, 5, 5), 16, ConvAttrs((1, 7), pads=(0, 3, 0, 3)), False, False),
            ((1, 16, 30, 30), 64, ConvAttrs((7, 7), (2, 2), (3, 3, 3, 3)), True, False),
            ((1, 3, 8, 8), 4, ConvAttrs((1, 1), pads=(1, 1, 1, 1)), True, False),
        ]
        for shape, filters, attrs, with_bias, with_residual in cases:
            fan_in = shape[1] // attrs.groups * attrs.kernel_size[0] * attrs.kernel_size[1]
            x = rng.standard_normal(shape, dtype=np.float32)
            weight_shape = (filters, shape[1] // attrs.groups, *attrs.kernel_size)
            weight = rng.standard_normal(weight_shape, dtype=np.float32) / np.float32(np.sqrt(fan_in))
            bias = rng.standard_normal(filters, dtype=np.float32) if with_bias else None
            (out,) = self.reference(attrs, (x, weight, None, None))
            residual = rng.standard_normal(out.shape, dtype=np.float32) if with_residual else None
            yield Sample(attrs, (x, weight, bias, residual))


CONV = register(Conv)
