"""How each operator is written in ONNX, opset 20; epilogues become nodes of their own again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnnir.backends.onnx.emitter import Emitter
from cnnir.errors import CnnirError
from cnnir.ir import DType, Node, Operator, Value
from cnnir.ops.activation import Activation, ActivationKind, UnaryOperator, activation_of
from cnnir.ops.conv import CONV
from cnnir.ops.conv_transpose import CONV_TRANSPOSE
from cnnir.ops.dense import DENSE
from cnnir.ops.elementwise import ADD, DIV, MAX, MIN, MUL, POW, PRELU, SUB
from cnnir.ops.layout import REORDER
from cnnir.ops.normalization import BATCH_NORM, LRN
from cnnir.ops.pool import AVERAGE_POOL, GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL, MAX_POOL, PoolAttrs
from cnnir.ops.quantize import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from cnnir.ops.reduce import REDUCE_MAX, REDUCE_MEAN, REDUCE_SUM, SOFTMAX
from cnnir.ops.shape import (
    CONCAT,
    DROPOUT,
    FLATTEN,
    IDENTITY,
    PAD,
    RESHAPE,
    SLICE,
    SQUEEZE,
    TRANSPOSE,
    UNSQUEEZE,
)
from cnnir.ops.unpool import MAX_POOL_INDICES, MAX_UNPOOL

Writer = Callable[[Emitter, Node], None]
"""Adds the ONNX nodes of one node; the last of them defines `emitter.tensor(node.output)`."""

_SIMPLE: Mapping[ActivationKind, str] = {
    ActivationKind.RELU: "Relu",
    ActivationKind.SIGMOID: "Sigmoid",
    ActivationKind.TANH: "Tanh",
    ActivationKind.HARD_SWISH: "HardSwish",
    ActivationKind.GELU: "Gelu",
    ActivationKind.EXP: "Exp",
    ActivationKind.SQRT: "Sqrt",
    ActivationKind.NEG: "Neg",
    ActivationKind.ABS: "Abs",
}


def _activation(emitter: Emitter, activation: Activation, x: str, output: str, name: str, dtype: DType) -> None:
    """The formula of an `Activation` applied to tensor `x`."""
    kind, alpha, beta = activation.kind, activation.alpha, activation.beta
    match kind:
        case ActivationKind.CLIP:
            # An infinite bound is one left out.
            bounds = ["" if math.isinf(b) else emitter.number(b, dtype) for b in (alpha, beta)]
            emitter.node("Clip", [x, *(bounds if bounds[1] else bounds[:1] if bounds[0] else [])], output, name)
        case ActivationKind.LEAKY_RELU:
            emitter.node("LeakyRelu", [x], output, name, {"alpha": alpha})
        case ActivationKind.ELU:
            emitter.node("Elu", [x], output, name, {"alpha": alpha})
        case ActivationKind.HARD_SIGMOID:
            emitter.node("HardSigmoid", [x], output, name, {"alpha": alpha, "beta": beta})
        case ActivationKind.SILU:
            # `Swish` exists since opset 24 only.
            gate = emitter.node("Sigmoid", [x], emitter.fresh(f"{output}.sigmoid"), f"{name}.sigmoid")
            emitter.node("Mul", [x, gate], output, name)
        case _:
            emitter.node(_SIMPLE[kind], [x], output, name)


def _unary(emitter: Emitter, node: Node) -> None:
    activation = activation_of(node.op, node.attrs)
    assert activation is not None
    _activation(emitter, activation, emitter.inputs(node.inputs)[0], *_target(emitter, node))


def _target(emitter: Emitter, node: Node) -> tuple[str, str, DType]:
    return emitter.tensor(node.output), node.name, node.output.type.dtype


def _with_epilogue(
    emitter: Emitter,
    node: Node,
    op: str,
    inputs: Sequence[str],
    attributes: Mapping[str, object],
    activation: Activation | None,
    residual: Value | None = None,
) -> None:
    """`op`, then the addition of the residual, then the activation; the first of them keeps the node's name."""
    output, name, dtype = _target(emitter, node)
    last = output if residual is None and activation is None else emitter.fresh(f"{output}.{op.lower()}")
    emitter.node(op, inputs, last, name, attributes, node.origins)
    if residual is not None:
        total = output if activation is None else emitter.fresh(f"{output}.add")
        last = emitter.node("Add", [last, emitter.tensor(residual)], total, f"{name}.add")
    if activation is not None:
        _activation(emitter, activation, last, output, f"{name}.{activation.kind}", dtype)


def _conv(emitter: Emitter, node: Node) -> None:
    attrs = CONV.of(node)
    assert attrs is not None
    attributes = {
        "kernel_shape": attrs.kernel_size,
        "strides": attrs.stride,
        "pads": attrs.pads,
        "dilations": attrs.dilation,
        "group": attrs.groups,
    }
    residual = node.inputs[3]
    _with_epilogue(emitter, node, "Conv", emitter.inputs(node.inputs[:3]), attributes, attrs.activation, residual)


def _conv_transpose(emitter: Emitter, node: Node) -> None:
    attrs = CONV_TRANSPOSE.of(node)
    assert attrs is not None
    attributes = {
        "kernel_shape": attrs.kernel_size,
        "strides": attrs.stride,
        "pads": attrs.pads,
        "output_padding": attrs.output_padding,
        "dilations": attrs.dilation,
        "group": attrs.groups,
    }
    _with_epilogue(emitter, node, "ConvTranspose", emitter.inputs(node.inputs), attributes, attrs.activation)


def _dense(emitter: Emitter, node: Node) -> None:
    attrs = DENSE.of(node)
    assert attrs is not None
    _with_epilogue(emitter, node, "Gemm", emitter.inputs(node.inputs), {"transB": 1}, attrs.activation)


def _binary(emitter: Emitter, node: Node) -> None:
    activation: Activation | None = getattr(node.attrs, "activation")  # noqa: B009
    _with_epilogue(emitter, node, node.op.name, emitter.inputs(node.inputs), {}, activation)


def _pool_attributes(attrs: PoolAttrs) -> dict[str, object]:
    return {
        "kernel_shape": attrs.kernel_size,
        "strides": attrs.stride,
        "pads": attrs.pads,
        "dilations": attrs.dilation,
        "ceil_mode": int(attrs.ceil_mode),
    }


def _direct(*fields: str, rename: Mapping[str, str] | None = None) -> Writer:
    """One ONNX node of the same name, with these fields of the attributes."""

    def write(emitter: Emitter, node: Node) -> None:
        values: dict[str, Any] = {(rename or {}).get(f, f): getattr(node.attrs, f) for f in fields}
        attributes = {k: int(v) if isinstance(v, bool) else v for k, v in values.items()}
        output, name, _ = _target(emitter, node)
        emitter.node(node.op.name, emitter.inputs(node.inputs), output, name, attributes, node.origins)

    return write


def _lrn(emitter: Emitter, node: Node) -> None:
    """`LRN`; ONNX Runtime has it for odd sizes only, so an even one is spelt out: the sum of squares over the
    neighbouring channels is a 1x1 convolution of the squares with a band matrix."""
    attrs = LRN.of(node)
    assert attrs is not None
    if attrs.size % 2:
        _direct("size", "alpha", "beta", "bias")(emitter, node)
        return
    output, name, dtype = _target(emitter, node)
    (x,) = emitter.inputs(node.inputs)
    channels = node.output.type.shape[1]
    offset = np.arange(channels) - np.arange(channels)[:, None] + (attrs.size - 1) // 2
    band = np.where((offset >= 0) & (offset < attrs.size), attrs.alpha / attrs.size, 0).astype(dtype.numpy)
    weight = emitter.constant(band[:, :, None, None], f"{name}.band")
    bias = emitter.constant(np.full(channels, attrs.bias, dtype.numpy), f"{name}.bias")
    square = emitter.node("Mul", [x, x], emitter.fresh(f"{output}.square"), f"{name}.square")
    total = emitter.node("Conv", [square, weight, bias], emitter.fresh(f"{output}.sum"), f"{name}.sum")
    exponent = emitter.number(attrs.beta, dtype)
    power = emitter.node("Pow", [total, exponent], emitter.fresh(f"{output}.power"), f"{name}.power")
    emitter.node("Div", [x, power], output, name, origins=node.origins)


def _max_pool(emitter: Emitter, node: Node) -> None:
    attrs = MAX_POOL.of(node)
    assert attrs is not None
    output, name, _ = _target(emitter, node)
    emitter.node("MaxPool", emitter.inputs(node.inputs), output, name, _pool_attributes(attrs), node.origins)


def _max_pool_indices(emitter: Emitter, node: Node) -> None:
    attrs = MAX_POOL_INDICES.of(node)
    assert attrs is not None
    maxima, indices = (emitter.tensor(v) for v in node.outputs)
    inputs = emitter.inputs(node.inputs)
    emitter.node("MaxPool", inputs, maxima, node.name, _pool_attributes(attrs), node.origins, (indices,))


def _max_unpool(emitter: Emitter, node: Node) -> None:
    attrs = MAX_UNPOOL.of(node)
    assert attrs is not None
    attributes = {"kernel_shape": attrs.kernel_size, "strides": attrs.stride, "pads": attrs.pads}
    output, name, _ = _target(emitter, node)
    emitter.node("MaxUnpool", emitter.inputs(node.inputs), output, name, attributes, node.origins)


def _average_pool(emitter: Emitter, node: Node) -> None:
    attrs = AVERAGE_POOL.of(node)
    assert attrs is not None
    attributes = {**_pool_attributes(attrs), "count_include_pad": int(attrs.count_include_pad)}
    output, name, _ = _target(emitter, node)
    emitter.node("AveragePool", emitter.inputs(node.inputs), output, name, attributes, node.origins)


def _identity(emitter: Emitter, node: Node) -> None:
    output, name, _ = _target(emitter, node)
    emitter.node("Identity", emitter.inputs(node.inputs), output, name, origins=node.origins)


def _reduce(emitter: Emitter, node: Node) -> None:
    attrs = REDUCE_MEAN.of(node) or REDUCE_SUM.of(node) or REDUCE_MAX.of(node)
    assert attrs is not None
    output, name, _ = _target(emitter, node)
    inputs = [*emitter.inputs(node.inputs), emitter.integers(attrs.axes, f"{name}.axes")]
    emitter.node(node.op.name, inputs, output, name, {"keepdims": int(attrs.keepdims)}, node.origins)


def _list_input(field: str) -> Writer:
    """One ONNX node of the same name whose second input is a list of integers that the attributes hold."""

    def write(emitter: Emitter, node: Node) -> None:
        output, name, _ = _target(emitter, node)
        inputs = [*emitter.inputs(node.inputs), emitter.integers(getattr(node.attrs, field), f"{name}.{field}")]
        emitter.node(node.op.name, inputs, output, name, origins=node.origins)

    return write


def _slice(emitter: Emitter, node: Node) -> None:
    attrs = SLICE.of(node)
    assert attrs is not None
    output, name, _ = _target(emitter, node)
    lists = [emitter.integers(getattr(attrs, f), f"{name}.{f}") for f in ("starts", "ends", "axes", "steps")]
    emitter.node("Slice", [*emitter.inputs(node.inputs), *lists], output, name, origins=node.origins)


def _pad(emitter: Emitter, node: Node) -> None:
    attrs = PAD.of(node)
    assert attrs is not None
    output, name, dtype = _target(emitter, node)
    pads, value = emitter.integers(attrs.pads, f"{name}.pads"), emitter.number(attrs.value, dtype)
    emitter.node("Pad", [*emitter.inputs(node.inputs), pads, value], output, name, origins=node.origins)


def _dropout(emitter: Emitter, node: Node) -> None:
    attrs = DROPOUT.of(node)
    assert attrs is not None
    output, name, dtype = _target(emitter, node)
    inputs = [*emitter.inputs(node.inputs), emitter.number(attrs.ratio, dtype)]
    emitter.node("Dropout", inputs, output, name, origins=node.origins)


WRITERS: Mapping[Operator[Any], Writer] = {
    ADD: _binary,
    AVERAGE_POOL: _average_pool,
    BATCH_NORM: _direct("epsilon"),
    CONCAT: _direct("axis"),
    CONV: _conv,
    CONV_TRANSPOSE: _conv_transpose,
    DENSE: _dense,
    DEQUANTIZE_LINEAR: _direct("axis"),
    DIV: _binary,
    DROPOUT: _dropout,
    FLATTEN: _direct("axis"),
    GLOBAL_AVERAGE_POOL: _direct(),
    GLOBAL_MAX_POOL: _direct(),
    IDENTITY: _identity,
    LRN: _lrn,
    MAX: _binary,
    MAX_POOL: _max_pool,
    MAX_POOL_INDICES: _max_pool_indices,
    MAX_UNPOOL: _max_unpool,
    MIN: _binary,
    MUL: _binary,
    PAD: _pad,
    POW: _binary,
    PRELU: _direct(),
    QUANTIZE_LINEAR: _direct("axis"),
    REDUCE_MAX: _reduce,
    REDUCE_MEAN: _reduce,
    REDUCE_SUM: _reduce,
    REORDER: _identity,
    RESHAPE: _list_input("shape"),
    SLICE: _slice,
    SOFTMAX: _direct("axis"),
    SQUEEZE: _list_input("axes"),
    SUB: _binary,
    TRANSPOSE: _direct("perm"),
    UNSQUEEZE: _list_input("axes"),
}
"""Every operator with its writer; the element-wise ones of one input are written by formula, see `writer`."""


def writer(node: Node) -> Writer:
    """How to write `node`; `CnnirError` for an operator that ONNX export does not have."""
    if isinstance(node.op, UnaryOperator):
        return _unary
    if node.op not in WRITERS:
        raise CnnirError(
            f"Operator '{node.op.name}' cannot be written as ONNX.", at=node.loc or f"node '{node.name}'"
        )
    return WRITERS[node.op]
