"""Layers with weights: convolutions and the dense layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import Padding, Size, check_padding, flag, integer, pads, pair
from cnnir.frontends.dsl.builder import Call
from cnnir.frontends.dsl.init import TORCH_UNIFORM, Fan, Initializer
from cnnir.frontends.dsl.layer import Layer
from cnnir.frontends.dsl.tensor import Tensor
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.dense import DENSE, DenseAttrs


@dataclass(frozen=True, eq=False)
class Conv(Layer):
    """2-D convolution, `[N, C, H, W]` -> `[N, filters, H', W']`.

    Sizes and strides are one integer or (height, width); paddings also (top, left, bottom, right), "same" or
    "valid" as TensorFlow means them. Parameters: `weight` `[filters, C/groups, KH, KW]`, `bias` `[filters]`.
    """

    filters: int
    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1
    bias: bool = True
    init: Initializer = TORCH_UNIFORM
    bias_init: Initializer = TORCH_UNIFORM

    def check(self) -> None:
        integer(self.filters, "filters", self.loc)
        _check_window(self)
        integer(self.groups, "groups", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return _convolve(self, call, x, self.filters, self.groups)


@dataclass(frozen=True, eq=False)
class DepthwiseConv(Layer):
    """A convolution of every channel by itself, giving `multiplier` channels for each.

    Arguments and parameters otherwise as `Conv`'s with as many groups as input channels.
    """

    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    multiplier: int = 1
    bias: bool = True
    init: Initializer = TORCH_UNIFORM
    bias_init: Initializer = TORCH_UNIFORM

    @property
    def kind(self) -> str:
        return "conv"

    def check(self) -> None:
        _check_window(self)
        integer(self.multiplier, "multiplier", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        _need_image(self, x)
        return _convolve(self, call, x, self.multiplier * x.channels, x.channels)


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """Fully connected layer, `[N, K]` -> `[N, units]`. Parameters: `weight` `[units, K]`, `bias` `[units]`."""

    units: int
    bias: bool = True
    init: Initializer = TORCH_UNIFORM
    bias_init: Initializer = TORCH_UNIFORM

    def check(self) -> None:
        integer(self.units, "units", self.loc)
        flag(self.bias, "bias", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        if len(x.shape) != 2:
            raise CnnirError(
                f"Expected rows (N, K) as the input of 'Dense', got {x.value.type}.",
                at=self.loc,
                hints=["Put 'Flatten()' before it."],
            )
        shape = (self.units, x.shape[1])
        fan = Fan.of(shape)
        weight = call.parameter("weight", shape, self.init, fan)
        bias = call.parameter("bias", (self.units,), self.bias_init, fan) if self.bias else None
        return call.emit(DENSE, DenseAttrs(), x, weight, bias)


def _check_window(layer: Conv | DepthwiseConv) -> None:
    pair(layer.kernel_size, "kernel_size", layer.loc)
    pair(layer.stride, "stride", layer.loc)
    pair(layer.dilation, "dilation", layer.loc)
    check_padding(layer.padding, "padding", layer.loc)
    flag(layer.bias, "bias", layer.loc)


def _need_image(layer: Layer, x: Tensor) -> None:
    if len(x.shape) != 4:
        raise CnnirError(
            f"Expected an image (N, C, H, W) as the input of '{type(layer).__name__}', got {x.value.type}.",
            at=layer.loc,
        )


def _convolve(layer: Conv | DepthwiseConv, call: Call, x: Tensor, filters: int, groups: int) -> Tensor:
    _need_image(layer, x)
    kernel = pair(layer.kernel_size, "kernel_size", layer.loc)
    stride = pair(layer.stride, "stride", layer.loc)
    dilation = pair(layer.dilation, "dilation", layer.loc)
    if x.channels % groups or filters % groups:
        which = f"{x.channels} input channels" if x.channels % groups else f"{filters} filters"
        common = math.gcd(x.channels, filters)
        fitting = [str(g) for g in range(1, common + 1) if common % g == 0]
        raise CnnirError(
            f"{which} do not divide into {groups} groups.",
            at=layer.loc,
            notes=[f"'{call.path}' reads '{x.value.name}' {x.value.type} and has {filters} filters."],
            hints=[f"Numbers of groups that fit: {', '.join(fitting)}."],
        )
    shape = (filters, x.channels // groups, *kernel)
    fan = Fan.of(shape)
    weight = call.parameter("weight", shape, layer.init, fan)
    bias = call.parameter("bias", (filters,), layer.bias_init, fan) if layer.bias else None
    border = pads(layer.padding, x.size, kernel, stride, dilation)
    attrs = ConvAttrs(kernel, stride, border, dilation, groups)
    return call.emit(
        CONV, attrs, x, weight, bias, hints=["Use a smaller kernel, more padding, or a larger input image."]
    )
