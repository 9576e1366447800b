"""Converters of matrix products: `Gemm` and `MatMul` become fully connected layers (weight `[O, K]`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.ir import Node, Value
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.dense import DENSE, DenseAttrs
from cnnir.ops.elementwise import ADD, MUL, BinaryAttrs
from cnnir.ops.shape import TRANSPOSE, TransposeAttrs


def _turned(call: Call, i: int, what: str) -> Value:
    """The transpose of matrix input `i`: of the array itself where it is known."""
    known = call.known(i)
    if known is not None and known.ndim == 2:
        return call.constant(np.ascontiguousarray(known.T), call.inputs[i])
    x = call.settled(i, what) if what else call.value(i)
    if x.type.rank != 2:
        raise call.error(f"Expected a matrix as input {i} of '{call.op}', got {x.type}.")
    return call.emit(TRANSPOSE, TransposeAttrs((1, 0)), x, suffix=f"transposed{i}")


def _scaled(call: Call, x: Value, factor: float, suffix: str) -> Value:
    """`factor * x`: computed now for a constant, else a `Mul`."""
    if factor == 1:
        return x
    if x.data is not None:
        array = x.data.numpy()
        return call.constant(np.asarray(array * array.dtype.type(factor)), x.name)
    return call.emit(MUL, BinaryAttrs(), x, call.number(factor, x), suffix=suffix)


def gemm(call: Call) -> Result:
    """`alpha * A' * B' + beta * C`: both factors are folded into constants; a C that is no bias is added after."""
    x = _turned(call, 0, "") if call.flag("transA") else call.value(0)
    weight = call.settled(1, "weight") if call.flag("transB") else _turned(call, 1, "weight")
    weight = _scaled(call, weight, call.float_attr("alpha", 1.0), "alpha")
    if not call.given(2):
        return call.emit(DENSE, DenseAttrs(), x, weight, None)
    bias = _scaled(call, call.value(2), call.float_attr("beta", 1.0), "beta")
    if weight.type.rank == 2:
        row = bias_row(call, bias, weight.type.shape[0])
        if row is not None:
            return call.emit(DENSE, DenseAttrs(), x, weight, row)
    product = call.emit(DENSE, DenseAttrs(), x, weight, None, suffix="product")
    return call.emit(ADD, BinaryAttrs(), product, bias)


def bias_row(call: Call, value: Value, filters: int) -> Value | None:
    """A tensor that broadcasts over the rows of `[N, filters]`, as a value of shape `[filters]`; else `None`."""
    if value.type.shape == (filters,):
        return value if value.is_constant or value.producer is not None else None
    if value.data is None or len(value.type.shape) > 2 or value.type.shape[:-1] not in ((), (1,)):
        return None
    array = value.data.numpy()
    if array.size not in (1, filters):
        return None
    return call.constant(np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (filters,))), value.name)


def matmul(call: Call) -> Result:
    """`x @ B` with a constant `B [K, O]`; on `[N, H, W, K]` it is a 1x1 convolution between two transpositions."""
    x = call.value(0)
    if x.type.rank == 2:
        return call.emit(DENSE, DenseAttrs(), x, _turned(call, 1, "right operand"), None)
    if x.type.rank == 4:
        weight = call.array(1, "right operand")
        if weight.ndim == 2:
            kernel = call.constant(np.ascontiguousarray(weight.T)[:, :, None, None], call.inputs[1])
            image = call.emit(TRANSPOSE, TransposeAttrs((0, 3, 1, 2)), x, suffix="nchw")
            product = call.emit(CONV, ConvAttrs((1, 1)), image, kernel, None, None, suffix="conv")
            return call.emit(TRANSPOSE, TransposeAttrs((0, 2, 3, 1)), product)
    raise call.error(
        f"'MatMul' is supported of [N,K] or [N,H,W,K] with a constant [K,O], got {x.type} "
        f"with {call.value(1).type}."
    )


def with_bias(call: Call, product: Value, addend: Value, read: str) -> Value | None:
    """`Add` of a `MatMul` that nothing else reads and a row: one fully connected layer; else `None`.

    `read` is the name under which the file reads the product.
    """
    node = product.producer
    if node is None or DENSE.of(node) is None or node.inputs[2] is not None or product.uses:
        return None
    x, weight, _ = node.inputs
    assert x is not None and weight is not None
    if call.context.reads[read] != 1 or addend.data is None:
        return None
    row = bias_row(call, addend, weight.type.shape[0])
    if row is None:
        return None
    call.context.nodes.remove(node)
    for i in range(len(node.inputs)):
        node.set_input(i, None)
    merged = Node(
        DENSE, DenseAttrs(), [x, weight, row], name=node.name, loc=node.loc, origins=(*node.origins, call.name)
    )
    call.context.nodes.append(merged)
    return merged.output


CONVERTERS: Mapping[str, Converter] = {"Gemm": gemm, "MatMul": matmul}
