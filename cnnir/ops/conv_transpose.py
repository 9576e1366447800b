"""Transposed convolution (ONNX `ConvTranspose`): the gradient of a convolution with respect to its input."""

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
from cnnir.ops.spatial import NO_PADS, Pads, Pair, check_window, image


@dataclass(frozen=True)
class ConvTransposeAttrs(Attrs):
    """`pads` (top, left, bottom, right) are cut off the full result; `output_padding` adds rows and columns at the
    end, less than a stride or a dilation of them; `activation` is applied after the bias."""

    kernel_size: Pair
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: Activation | None = None

    def __post_init__(self) -> None:
        check_window(self.kernel_size, self.stride, self.dilation, self.pads)
        if self.groups < 1:
            raise ShapeError(f"Expected groups of at least 1, got {self.groups}.")
        limits = [max(s, d) for s, d in zip(self.stride, self.dilation, strict=True)]
        if len(self.output_padding) != 2 or any(
            not 0 <= p < limit for p, limit in zip(self.output_padding, limits, strict=True)
        ):
            raise ShapeError(
                f"Expected an output_padding below {tuple(limits)}, the larger of stride and dilation, "
                f"got {self.output_padding}."
            )

    def output(self, size: Pair) -> Pair:
        """Height and width of the output for an input of that height and width."""
        sizes = []
        for axis in (0, 1):
            extent = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            full = (size[axis] - 1) * self.stride[axis] + extent + self.output_padding[axis]
            cut = self.pads[axis] + self.pads[axis + 2]
            if full <= cut:
                raise ShapeError(
                    f"Padding {self.pads[axis]}+{self.pads[axis + 2]} leaves nothing of {full} pixels."
                )
            sizes.append(full - cut)
        return sizes[0], sizes[1]


class ConvTranspose(Operator[ConvTransposeAttrs]):
    """ONNX `ConvTranspose`, plus an optional activation.

    Every input pixel adds its kernel, scaled, to the output at `stride` times its place.
    Shapes: x `[N, C, H, W]`, weight `[C, O/groups, KH, KW]`, bias `[O]`, output `[N, O, OH, OW]` with
    `OH = (H - 1) * stride + dilation * (KH - 1) + 1 + output_padding - top - bottom`.
    """

    name = "ConvTranspose"
    ports: ClassVar = (Port("x"), Port("weight", parameter=True), Port("bias", optional=True, parameter=True))
    attrs_type = ConvTransposeAttrs

    def infer(self, attrs: ConvTransposeAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weight, bias = image(inputs[0], self.name), inputs[1], inputs[2]
        assert weight is not None
        n, channels, h, w = x.shape
        if channels % attrs.groups:
            raise ShapeError(f"{channels} input channels do not divide into {attrs.groups} groups.")
        if weight.rank != 4 or (weight.shape[0], *weight.shape[2:]) != (channels, *attrs.kernel_size):
            kh, kw = attrs.kernel_size
            raise ShapeError(f"Expected a weight of shape [{channels},O/{attrs.groups},{kh},{kw}], got {weight}.")
        same_dtype(self.name, x, weight)
        filters = weight.shape[1] * attrs.groups
        if bias is not None and bias.shape != (filters,):
            raise ShapeError(f"Expected a bias of shape [{filters}], got {bias}.")
        return (TensorType(x.dtype, (n, filters, *attrs.output((h, w)))),)

    def reference(self, attrs: ConvTransposeAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, weight, bias = inputs
        assert x is not None and weight is not None
        n, channels, h, w = x.shape
        (kh, kw), (sh, sw), (dh, dw), g = attrs.kernel_size, attrs.stride, attrs.dilation, attrs.groups
        filters = weight.shape[1]
        oh, ow = attrs.output((h, w))
        top, left = attrs.pads[:2]
        # The canvas holds whatever a kernel reaches; the output is a part of it.
        rows = max((h - 1) * sh + dh * (kh - 1) + 1, top + oh)
        columns = max((w - 1) * sw + dw * (kw - 1) + 1, left + ow)
        canvas = np.zeros((n, g, filters, rows, columns), np.result_type(x, weight))
        pixels = x.reshape(n, g, channels // g, h * w)
        taps = weight.reshape(g, channels // g, filters, kh, kw)
        for i, j in itertools.product(range(kh), range(kw)):
            product = np.matmul(taps[:, :, :, i, j].transpose(0, 2, 1), pixels).reshape(n, g, filters, h, w)
            canvas[:, :, :, i * dh :, j * dw :][..., : (h - 1) * sh + 1 : sh, : (w - 1) * sw + 1 : sw] += product
        y = canvas[..., top : top + oh, left : left + ow].reshape(n, g * filters, oh, ow)
        if bias is not None:
            y = y + bias[:, None, None]
        return (y if attrs.activation is None else attrs.activation(y),)

    def cost(
        self, attrs: ConvTransposeAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]
    ) -> Cost:
        x, weight = inputs[:2]
        assert x is not None and weight is not None
        macs = x.size * weight.shape[1] * weight.shape[2] * weight.shape[3]
        extra = (inputs[2] is not None) + (attrs.activation is not None)
        return Cost(macs, 2 * macs + outputs[0].size * extra)

    def window(self, attrs: ConvTransposeAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        return Window(attrs.kernel_size, (1, 1), attrs.dilation, attrs.pads[:2], attrs.stride)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[ConvTransposeAttrs]]:
        relu = Activation(ActivationKind.RELU)
        make = ConvTransposeAttrs
        cases: list[tuple[tuple[int, ...], int, ConvTransposeAttrs, bool]] = [
            # input shape, filters, attributes, bias
            ((1, 3, 5, 4), 8, make((2, 2), (2, 2)), True),
            ((2, 16, 4, 5), 32, make((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)), True),
            ((1, 17, 4, 4), 5, make((4, 4), (2, 2), (1, 1, 1, 1), activation=relu), True),
            ((1, 8, 6, 6), 16, make((3, 3)), False),
            ((1, 4, 3, 4), 4, make((8, 6), (4, 3), (2, 1, 2, 2), groups=4), False),
            ((1, 12, 5, 5), 24, make((3, 3), (2, 2), (0, 1, 1, 0), groups=3, activation=relu), True),
            ((1, 5, 6, 5), 7, make((3, 2), (2, 3), (2, 0, 1, 0), (1, 2), (2, 3)), True),
            ((1, 6, 4, 3), 20, make((1, 1), (2, 2), output_padding=(1, 0)), True),
            ((1, 6, 4, 3), 6, make((2, 3), (3, 4)), True),
            ((1, 32, 1, 1), 16, make((4, 4)), False),
            ((1, 3, 7, 9), 3, make((4, 4), (1, 1), (3, 3, 3, 3)), True),
        ]
        for shape, filters, attrs, with_bias in cases:
            weight_shape = (shape[1], filters // attrs.groups, *attrs.kernel_size)
            scale = np.float32(1 / np.sqrt(weight_shape[0] / attrs.groups))
            yield Sample(
                attrs,
                (
                    rng.standard_normal(shape, dtype=np.float32),
                    rng.standard_normal(weight_shape, dtype=np.float32) * scale,
                    rng.standard_normal(filters, dtype=np.float32) if with_bias else None,
                ),
            )


CONV_TRANSPOSE = register(ConvTranspose)
