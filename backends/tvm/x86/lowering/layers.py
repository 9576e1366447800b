"""Lowering of the layers with windows and weights: convolution, pooling, dense, normalisation over channels."""

from __future__ import annotations

from cnnir.backends.tvm.steps import Step
from cnnir.backends.tvm.x86.kernels.conv import ConvKernel
from cnnir.backends.tvm.x86.kernels.conv_cost import choose
from cnnir.backends.tvm.x86.kernels.dense import Dense
from cnnir.backends.tvm.x86.kernels.depthwise import DepthwiseKernel, choose_depthwise
from cnnir.backends.tvm.x86.kernels.global_pool import GlobalPool
from cnnir.backends.tvm.x86.kernels.grouped import GroupedKernel, choose_grouped, is_narrow
from cnnir.backends.tvm.x86.kernels.lrn import Lrn
from cnnir.backends.tvm.x86.kernels.pool import Pool, PoolKind
from cnnir.backends.tvm.x86.kernels.softmax import Softmax
from cnnir.backends.tvm.x86.kernels.winograd import WinogradKernel
from cnnir.backends.tvm.x86.kernels.winograd_cost import choose_winograd
from cnnir.backends.tvm.x86.lowering.context import Context, unsupported
from cnnir.ops.conv import CONV
from cnnir.ops.dense import DENSE
from cnnir.ops.normalization import LRN
from cnnir.ops.pool import AVERAGE_POOL, GLOBAL_MAX_POOL, MAX_POOL
from cnnir.ops.reduce import SOFTMAX


def lower_conv(context: Context) -> list[Step]:
    node = context.node
    kernel = convolution_kernel(context)
    packed = kernel.pack(context.constant(1), None if node.inputs[2] is None else context.constant(2))
    residual = () if node.inputs[3] is None else (context.operand(3),)
    return [Step(kernel, (context.operand(0), *packed, *residual, context.output), node)]


def convolution_kernel(context: Context) -> ConvKernel | DepthwiseKernel | GroupedKernel | WinogradKernel:
    """The kernel family and the tile for a convolution node."""
    node = context.node
    attrs = CONV.of(node)
    assert attrs is not None
    x, y = context.image(0), context.output_image
    bias = node.inputs[2] is not None
    residual = None if node.inputs[3] is None else context.image(3)
    if attrs.groups == x.channels == y.channels and attrs.groups > 1:
        depthwise = DepthwiseKernel(
            x,
            y,
            attrs.kernel_size,
            attrs.stride,
            attrs.dilation,
            attrs.pads,
            bias,
            residual,
            attrs.activation,
        )
        return choose_depthwise(depthwise, context.isa)
    if x.block == context.isa.lanes and is_narrow(x.channels, y.channels, attrs.groups, context.isa.lanes):
        grouped = GroupedKernel(
            x,
            y,
            attrs.kernel_size,
            attrs.stride,
            attrs.dilation,
            attrs.pads,
            bias,
            residual,
            attrs.activation,
            group_width=x.channels // attrs.groups,
        )
        return choose_grouped(grouped, context.isa)
    general = ConvKernel(
        x,
        y,
        attrs.kernel_size,
        attrs.stride,
        attrs.dilation,
        attrs.pads,
        attrs.groups,
        bias,
        residual,
        attrs.activation,
    )
    direct = choose(general, context.isa)
    return choose_winograd(direct, context.isa) or direct


def lower_dense(context: Context) -> list[Step]:
    node = context.node
    attrs = DENSE.of(node)
    assert attrs is not None
    x = context.operand(0)
    rows, inputs = x.type.shape
    kernel = Dense(rows, inputs, context.output.type.shape[1], context.isa, attrs.activation)
    weight, bias = kernel.pack(context.constant(1), None if node.inputs[2] is None else context.constant(2))
    return [Step(kernel, (x, weight, bias, context.output), node)]


def lower_pool(context: Context) -> list[Step]:
    node = context.node
    x, y = context.image(0), context.output_image
    if (attrs := MAX_POOL.of(node)) is not None:
        kernel = Pool(x, y, PoolKind.MAX, attrs.kernel_size, attrs.stride, attrs.pads, attrs.dilation)
    else:
        average = AVERAGE_POOL.of(node)
        assert average is not None
        kernel = Pool(
            x,
            y,
            PoolKind.AVERAGE,
            average.kernel_size,
            average.stride,
            average.pads,
            average.dilation,
            average.count_include_pad,
        )
    return [Step(kernel, (context.operand(0), context.output), node)]


def lower_global_pool(context: Context) -> list[Step]:
    kind = PoolKind.MAX if context.node.op is GLOBAL_MAX_POOL else PoolKind.AVERAGE
    kernel = GlobalPool(context.image(0), context.output_image, kind)
    return [Step(kernel, (context.operand(0), context.output), context.node)]


def lower_lrn(context: Context) -> list[Step]:
    attrs = LRN.of(context.node)
    assert attrs is not None
    kernel = Lrn(context.image(0), context.output_image, attrs.size, attrs.alpha, attrs.beta, attrs.bias)
    return [Step(kernel, (context.operand(0), context.output), context.node)]


def lower_softmax(context: Context) -> list[Step]:
    attrs = SOFTMAX.of(context.node)
    assert attrs is not None
    x = context.operand(0)
    if not x.type.shape:
        raise unsupported(context.node, "a scalar has no axis")
    return [Step(Softmax(x.type.shape, attrs.axis, context.isa), (x, context.output), context.node)]
