"""Lowering of what moves elements: views, layout changes, concatenation, slices, padding, reductions."""

from __future__ import annotations

import math

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.steps import Lowered, Operand, Step, View, elements
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.concat import ImageConcat, PlainConcat
from cnnir.backends.tvm.x86.kernels.copy import ImageCopy, PlainCopy
from cnnir.backends.tvm.x86.kernels.reduce import Reduce, ReduceKind
from cnnir.backends.tvm.x86.kernels.reorder import reorder
from cnnir.backends.tvm.x86.lowering.context import Context, LayoutRule, unsupported
from cnnir.ir import Node, Value
from cnnir.ops.reduce import ReduceAttrs
from cnnir.ops.shape import CONCAT, PAD, SLICE, TRANSPOSE

_REDUCTIONS = {"ReduceMean": ReduceKind.MEAN, "ReduceMax": ReduceKind.MAX, "ReduceSum": ReduceKind.SUM}


def follows_images(node: Node) -> LayoutRule:
    """Blocked where the node is an image."""
    return LayoutRule.FOLLOW if node.output.type.rank == 4 else LayoutRule.PLAIN


def concat_rule(node: Node) -> LayoutRule:
    """Blocks are joined along channels only; along other axes, plain arrays are."""
    attrs = CONCAT.of(node)
    assert attrs is not None
    channels = node.output.type.rank == 4 and attrs.axis % 4 == 1
    constant = any(v is not None and v.is_constant for v in node.inputs)
    return LayoutRule.FOLLOW if channels and not constant else LayoutRule.PLAIN


def slice_rule(node: Node) -> LayoutRule:
    """Images are sliced in blocks, unless the batch is cut or channels are skipped."""
    attrs = SLICE.of(node)
    assert attrs is not None
    rank = node.output.type.rank
    for axis, step in zip(attrs.axes, attrs.steps, strict=True):
        if axis % rank == 0 or (axis % rank == 1 and step != 1):
            return LayoutRule.PLAIN
    return follows_images(node)


def pad_rule(node: Node) -> LayoutRule:
    """Images are padded in blocks, unless the batch is."""
    attrs = PAD.of(node)
    assert attrs is not None
    rank = node.output.type.rank
    return LayoutRule.PLAIN if attrs.pads[0] or attrs.pads[rank] else follows_images(node)


def lower_view(context: Context) -> list[Lowered]:
    """The same memory under another shape; between blocked values whose halos differ, a copy."""
    x, y = context.operand(0), context.output
    if x.type.layout == y.type.layout:
        return [View(y, x)]
    return lower_reorder(context)


def lower_reorder(context: Context) -> list[Lowered]:
    x, y = context.operand(0), context.output
    one_pixel = x.type.shape[2:] == (1, 1) and not any(x.type.layout.halo + y.type.layout.halo)
    if one_pixel and elements(x) == elements(y) and 1 in (x.type.layout.block, y.type.layout.block):
        return [View(y, x)]  # blocks of a single pixel are its channels in order
    kernel = reorder(ImageBuffer.of(x.type), ImageBuffer.of(y.type), context.isa)
    return [Step(kernel, (x, y), context.node)]


def copy_of(x: Value, y: Value, node: Node, isa: Isa) -> Step:
    """A plain copy of `x` to `y`."""
    return Step(PlainCopy.transpose((elements(x),), (0,), isa), (x, y), node)


def lower_concat(context: Context) -> list[Lowered]:
    node = context.node
    attrs = CONCAT.of(node)
    assert attrs is not None
    if not context.is_plain:
        operands = [context.operand(i) for i in range(len(node.inputs))]
        kernel = ImageConcat(tuple(ImageBuffer.of(v.type) for v in operands), context.output_image)
        return [Step(kernel, (*operands, context.output), node)]
    memory: list[Operand] = []
    shapes = []
    for i, value in enumerate(node.inputs):
        assert value is not None
        memory.append(context.constant(i) if value.is_constant else value)
        shapes.append(value.type.shape)
    plain = PlainConcat(tuple(shapes), attrs.axis % len(shapes[0]), context.isa)
    return [Step(plain, (*memory, context.output), node)]


def lower_slice(context: Context) -> list[Lowered]:
    attrs = SLICE.of(context.node)
    assert attrs is not None
    x = context.operand(0)
    shape = x.type.shape
    slices = [slice(None)] * len(shape)
    for axis, start, end, step in zip(attrs.axes, attrs.starts, attrs.ends, attrs.steps, strict=True):
        slices[axis % len(shape)] = _onnx_slice(start, end, step, shape[axis % len(shape)])
    if context.is_plain:
        return [Step(PlainCopy.slice(shape, slices, context.isa), (x, context.output), context.node)]
    ranges = [range(*s.indices(d)) for s, d in zip(slices, shape, strict=True)]
    start = (ranges[1].start, ranges[2].start, ranges[3].start)
    kernel = ImageCopy(context.image(0), context.output_image, start, (ranges[2].step, ranges[3].step))
    return [Step(kernel, (x, context.output), context.node)]


def _onnx_slice(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's bounds are clamped; Python reads a negative end once more as counted from behind."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    return slice(min(max(start, 0), size - 1), None if end < 0 else end, step)


def lower_pad(context: Context) -> list[Lowered]:
    attrs = PAD.of(context.node)
    assert attrs is not None
    x = context.operand(0)
    if context.is_plain:
        kernel = PlainCopy.pad(x.type.shape, attrs.pads, context.isa, attrs.value)
        return [Step(kernel, (x, context.output), context.node)]
    _, channels, top, left = attrs.pads[:4]
    image = ImageCopy(context.image(0), context.output_image, (-channels, -top, -left), fill=attrs.value)
    return [Step(image, (x, context.output), context.node)]


def lower_transpose(context: Context) -> list[Lowered]:
    attrs = TRANSPOSE.of(context.node)
    assert attrs is not None
    x = context.operand(0)
    moving = [axis for axis in attrs.perm if x.type.shape[axis] > 1]
    if moving == sorted(moving):
        return [View(context.output, x)]
    kernel = PlainCopy.transpose(x.type.shape, attrs.perm, context.isa)
    return [Step(kernel, (x, context.output), context.node)]


def lower_reduce(context: Context) -> list[Lowered]:
    node = context.node
    attrs = node.attrs
    assert isinstance(attrs, ReduceAttrs)
    x = context.operand(0)
    kind = _REDUCTIONS[node.op.name]
    axes = tuple(sorted(axis % x.type.rank for axis in attrs.axes))
    if math.prod(x.type.shape) == 0:
        raise unsupported(node, "its input is empty")
    return [Step(Reduce(x.type.shape, axes, kind, context.isa), (x, context.output), node)]
