"""Lowering of what works element by element: activations, arithmetic, normalisation, quantisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.steps import Operand, Step
from cnnir.backends.tvm.x86.kernels.elementwise import ImageMap, PlainMap, affine_constants
from cnnir.backends.tvm.x86.kernels.formula import Combine, Formula
from cnnir.backends.tvm.x86.lowering.context import Context, LayoutRule, unsupported
from cnnir.ir import Array, DType, Layout, Node, Value
from cnnir.ir.packing import to_physical
from cnnir.ops.activation import UnaryOperator
from cnnir.ops.elementwise import BinaryAttrs
from cnnir.ops.normalization import BATCH_NORM
from cnnir.ops.quantize import QuantizeAttrs


def rule(node: Node) -> LayoutRule:
    """Blocked operands stay blocked where all of them are images."""
    activations = [v for v in node.inputs if v is not None and not v.is_constant]
    images = node.output.type.rank == 4 and all(v.type.rank == 4 for v in activations)
    return LayoutRule.FOLLOW if images else LayoutRule.PLAIN


def lower_unary(context: Context) -> list[Step]:
    node = context.node
    assert isinstance(node.op, UnaryOperator)
    formula = Formula(Combine.IDENTITY, node.op.activation(node.attrs))
    return [_map(context, formula, [context.operand(0)])]


def lower_binary(combine: Combine) -> Callable[[Context], list[Step]]:
    def lower(context: Context) -> list[Step]:
        attrs = context.node.attrs
        activation = attrs.activation if isinstance(attrs, BinaryAttrs) else None
        return [_map(context, Formula(combine, activation), [_either(context, port) for port in (0, 1)])]

    return lower


def lower_batch_norm(context: Context) -> list[Step]:
    attrs = BATCH_NORM.of(context.node)
    assert attrs is not None
    scale, bias, mean, var = (context.constant(port) for port in (1, 2, 3, 4))
    # Blocks of one channel are no blocks: the factors and shifts come out as they are.
    a, b = affine_constants(scale, bias, mean, var, attrs.epsilon, 1)
    shape = (scale.size, *(1,) * (context.output.type.rank - 2))
    return [_map(context, Formula(Combine.AFFINE), [context.operand(0), a.reshape(shape), b.reshape(shape)])]


def lower_quantize(context: Context) -> list[Step]:
    attrs = context.node.attrs
    assert isinstance(attrs, QuantizeAttrs)
    bounds = (-128, 127) if context.output.type.dtype is DType.I8 else (0, 255)
    return [_quantized(context, Formula(Combine.QUANTIZE, bounds=bounds), attrs.axis)]


def lower_dequantize(context: Context) -> list[Step]:
    attrs = context.node.attrs
    assert isinstance(attrs, QuantizeAttrs)
    return [_quantized(context, Formula(Combine.DEQUANTIZE), attrs.axis)]


def _quantized(context: Context, formula: Formula, axis: int) -> Step:
    x = context.operand(0)
    scale = context.constant(1)
    zero = context.constant(2) if context.node.inputs[2] is not None else np.zeros_like(scale)
    if scale.size > 1:
        shape = [1] * x.type.rank
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return _map(context, formula, [x, scale.reshape(scale.shape or (1,)), zero.reshape(scale.shape or (1,))])


def _either(context: Context, port: int) -> Value | Array:
    value = context.node.inputs[port]
    assert value is not None
    return context.constant(port) if value.is_constant else value


def _map(context: Context, formula: Formula, operands: Sequence[Value | Array]) -> Step:
    """`formula` over activations and logical constants, in the order in which the node works."""
    output = context.output
    shapes = [o.type.shape if isinstance(o, Value) else o.shape for o in operands]
    if context.is_plain:
        plain: list[Operand] = [
            o if isinstance(o, Value) else np.ascontiguousarray(o, np.float32) for o in operands
        ]
        return Step(
            PlainMap(formula, tuple(shapes), output.type.shape, context.isa), (*plain, output), context.node
        )
    y = ImageBuffer.of(output.type)
    buffers: list[ImageBuffer] = []
    memory: list[Operand] = []
    for operand in operands:
        if isinstance(operand, Value):
            buffers.append(ImageBuffer.of(operand.type))
            memory.append(operand)
        else:
            buffer, packed = _packed(context.node, operand, y)
            buffers.append(buffer)
            memory.append(packed)
    return Step(ImageMap(formula, tuple(buffers), y), (*memory, output), context.node)


def _packed(node: Node, constant: Array, y: ImageBuffer) -> tuple[ImageBuffer, NDArray[np.float32]]:
    """A constant that broadcasts over the blocked image `y`, in memory."""
    if constant.ndim > 4:
        raise unsupported(node, f"its constant has {constant.ndim} dimensions")
    image = constant.reshape((1,) * (4 - constant.ndim) + constant.shape).astype(np.float32)
    n, c, h, w = image.shape
    buffer = ImageBuffer(n, c, h, w)
    if buffer.channels > 1 or y.channels == 1:
        buffer = replace(buffer, block=y.block)
    return buffer, to_physical(image, Layout(buffer.block))
