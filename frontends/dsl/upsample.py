"""Layers and functions that make images larger: transposed convolution, max unpooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import Size, flag, integer, pads, pair
from cnnir.frontends.dsl.builder import Call
from cnnir.frontends.dsl.init import TORCH_UNIFORM, Fan, Initializer
from cnnir.frontends.dsl.layer import Layer
from cnnir.frontends.dsl.place import user_loc
from cnnir.frontends.dsl.tensor import Tensor, not_a_tensor
from cnnir.ir import Array
from cnnir.ops.conv_transpose import CONV_TRANSPOSE, ConvTransposeAttrs
from cnnir.ops.pool import PoolAttrs
from cnnir.ops.unpool import MAX_POOL_INDICES, MAX_UNPOOL, MaxUnpoolAttrs


@dataclass(frozen=True, slots=True)
class Bilinear:
    """Bilinear interpolation as a transposed convolution, each channel by itself.

    For a kernel of size 2 s - s % 2 and a stride of s, as Long et al. 2015 initialise FCN's upsampling
    (arXiv 1411.4038, section 3.3).
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        rows, columns = (_triangle(n) for n in shape[2:])
        # Of a weight [C, O/groups, KH, KW] every channel feeds the output channel of its own number.
        same = np.eye(shape[0], shape[1]) if shape[1] > 1 else np.ones(shape[:2])
        return (same[:, :, None, None] * rows[:, None] * columns).astype(np.float32)


def _triangle(size: int) -> Array:
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    return np.asarray(1 - np.abs(np.arange(size) - centre) / factor)


@dataclass(frozen=True, eq=False)
class ConvTranspose(Layer):
    """Transposed convolution, `[N, C, H, W]` -> `[N, filters, H', W']`: pixels add their kernels, `stride` apart.

    H' = (H - 1) stride + dilation (KH - 1) + 1 + output_padding - padding on both sides; `padding` is an integer,
    (height, width) or (top, left, bottom, right). Parameters: `weight` `[C, filters/groups, KH, KW]`, `bias`
    `[filters]`, as PyTorch's `ConvTranspose2d`.
    """

    filters: int
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    output_padding: Size = 0
    dilation: Size = 1
    groups: int = 1
    bias: bool = True
    init: Initializer = TORCH_UNIFORM
    bias_init: Initializer = TORCH_UNIFORM

    @property
    def kind(self) -> str:
        return "convtranspose"

    def check(self) -> None:
        integer(self.filters, "filters", self.loc)
        pair(self.kernel_size, "kernel_size", self.loc)
        pair(self.stride, "stride", self.loc)
        pair(self.dilation, "dilation", self.loc)
        pair(self.output_padding, "output_padding", self.loc, minimum=0)
        if isinstance(self.padding, int) or len(self.padding) != 4:
            pair(self.padding, "padding", self.loc, minimum=0)
        integer(self.groups, "groups", self.loc)
        flag(self.bias, "bias", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        if len(x.shape) != 4:
            raise CnnirError(
                f"Expected an image (N, C, H, W) as the input of 'ConvTranspose', got {x.value.type}.", at=self.loc
            )
        if x.channels % self.groups or self.filters % self.groups:
            which = f"{x.channels} input channels" if x.channels % self.groups else f"{self.filters} filters"
            raise CnnirError(f"{which} do not divide into {self.groups} groups.", at=self.loc)
        kernel, stride = pair(self.kernel_size, "kernel_size", self.loc), pair(self.stride, "stride", self.loc)
        dilation = pair(self.dilation, "dilation", self.loc)
        more = pair(self.output_padding, "output_padding", self.loc, minimum=0)
        border = pads(self.padding, x.size, kernel, stride, dilation)
        shape = (x.channels, self.filters // self.groups, *kernel)
        # PyTorch takes the second axis for the inputs here too.
        fan = Fan.of(shape)
        weight = call.parameter("weight", shape, self.init, fan)
        bias = call.parameter("bias", (self.filters,), self.bias_init, fan) if self.bias else None
        attrs = ConvTransposeAttrs(kernel, stride, border, more, dilation, self.groups)
        return call.emit(CONV_TRANSPOSE, attrs, x, weight, bias)


def max_pool_indices(
    x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, ceil_mode: bool = False
) -> tuple[Tensor, Tensor]:
    """The maxima over windows, and where they were: what `max_unpool` takes. `stride` is the kernel size unless
    given."""
    if not isinstance(x, Tensor):
        raise not_a_tensor(x, "as an input of 'max_pool_indices'")
    loc = user_loc()
    kernel = pair(kernel_size, "kernel_size", loc)
    step = kernel if stride is None else pair(stride, "stride", loc)
    border = pair(padding, "padding", loc, minimum=0)
    attrs = PoolAttrs(kernel, step, (*border, *border), ceil_mode=ceil_mode)
    maxima, indices = x.builder.functions("maxpool", MAX_POOL_INDICES, attrs, [x])
    return maxima, indices


def _window(pooled: int, pixels: int) -> tuple[int, int]:
    """Kernel size and stride of a window that makes `pixels` from `pooled`."""
    stride = round(pixels / pooled)
    if pooled > 1:
        stride = min(stride, (pixels - 1) // (pooled - 1))
    return pixels - (pooled - 1) * stride, stride


def max_unpool(x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
    """An image of `size` (height, width): the values of `x` where `indices` found the maxima, zeros elsewhere.

    `indices` are the second result of `max_pool_indices`, of an image of that very size and as many channels.
    """
    if not isinstance(x, Tensor):
        raise not_a_tensor(x, "as an input of 'max_unpool'")
    loc = user_loc()
    height, width = pair(size, "size", loc)
    if height < x.size[0] or width < x.size[1]:
        raise CnnirError(f"Expected a 'size' of at least {list(x.size)}, got {[height, width]}.", at=loc)
    rows, columns = _window(x.size[0], height), _window(x.size[1], width)
    attrs = MaxUnpoolAttrs((rows[0], columns[0]), (rows[1], columns[1]))
    return x.builder.function("maxunpool", MAX_UNPOOL, attrs, [x, indices])
