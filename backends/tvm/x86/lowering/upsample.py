"""Lowering of what makes images larger: transposed convolution, and unpooling with the pooling it belongs to."""

from __future__ import annotations

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.steps import Step
from cnnir.backends.tvm.x86.kernels.conv_transpose import ConvTransposeKernel, choose_transposed, phases_of
from cnnir.backends.tvm.x86.kernels.unpool import PoolIndices, Unpool
from cnnir.backends.tvm.x86.lowering.context import Context, unsupported
from cnnir.ir import Node
from cnnir.ir.types import Halo
from cnnir.ops.conv_transpose import CONV_TRANSPOSE
from cnnir.ops.unpool import MAX_POOL_INDICES


def transposed_halo(node: Node) -> Halo | None:
    """The zeros around its input that a transposed convolution reads; `None` for another node."""
    attrs = CONV_TRANSPOSE.of(node)
    x = node.inputs[0] if node.inputs else None
    if attrs is None or x is None:
        return None
    out = node.output.type.shape
    rows, columns = phases_of(attrs.kernel_size, attrs.stride, attrs.dilation, attrs.pads, (out[2], out[3]))
    (top, bottom), (left, right) = rows.reach(x.type.shape[2]), columns.reach(x.type.shape[3])
    return top, left, bottom, right


def lower_conv_transpose(context: Context) -> list[Step]:
    node = context.node
    attrs = CONV_TRANSPOSE.of(node)
    assert attrs is not None
    kernel = ConvTransposeKernel(
        context.image(0),
        context.output_image,
        attrs.kernel_size,
        attrs.stride,
        attrs.dilation,
        attrs.pads,
        attrs.groups,
        node.inputs[2] is not None,
        attrs.activation,
    )
    kernel = choose_transposed(kernel, context.isa)
    packed = kernel.pack(context.constant(1), None if node.inputs[2] is None else context.constant(2))
    return [Step(kernel, (context.operand(0), *packed, context.output), node)]


def lower_pool_indices(context: Context) -> list[Step]:
    node = context.node
    attrs = MAX_POOL_INDICES.of(node)
    assert attrs is not None
    maxima, indices = (ImageBuffer.of(v.type) for v in node.outputs)
    kernel = PoolIndices(
        context.image(0), maxima, indices, attrs.kernel_size, attrs.stride, attrs.pads, attrs.dilation
    )
    return [Step(kernel, (context.operand(0), *node.outputs), node)]


def lower_unpool(context: Context) -> list[Step]:
    """Indices in memory count the pixels of a plane, so they must come from a pooling of such planes."""
    node = context.node
    indices = node.inputs[1]
    pooling = None if indices is None else indices.producer
    attrs = None if pooling is None else MAX_POOL_INDICES.of(pooling)
    if attrs is None or pooling is None or indices is not pooling.outputs[1]:
        raise unsupported(node, "its indices do not come from a max pooling")
    pooled = pooling.inputs[0]
    assert pooled is not None
    if pooled.type.shape[1:] != context.output.type.shape[1:]:
        what = f"the pooling of its indices saw an image of type {pooled.type}, not {context.output.type}"
        raise unsupported(node, what)
    kernel = Unpool(
        context.image(0),
        context.image(1),
        context.output_image,
        attrs.kernel_size,
        attrs.stride,
        attrs.pads,
        attrs.dilation,
    )
    return [Step(kernel, (context.operand(0), context.operand(1), context.output), node)]
