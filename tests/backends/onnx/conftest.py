"""One-node graphs of operator samples, and how far float32 may be from the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cnnir.ir import Array, ArrayData, DType, Graph, Node, Operator, Sample, TensorType, Value
from cnnir.ir.registry import operator
from cnnir.ops.pool import PoolAttrs

U = 2.0**-24
"""Unit roundoff of float32."""

TINY = 2.0**-126
"""Below, float32 may flush to zero."""

CONSTANT_PORTS = {"weight", "bias", "scale", "mean", "var", "zero_point", "slope"}

EXACT = {
    "Abs", "Clip", "Concat", "Dropout", "Flatten", "GlobalMaxPool", "Identity", "Max", "MaxPool", "MaxPoolIndices",
    "MaxUnpool", "Min", "Neg",
    "Pad", "ReduceMax", "Relu", "Reorder", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
"""They select or move elements: nothing is rounded."""


@dataclass(frozen=True)
class Case:
    """A graph of one node (`n`, outputs `y`, `y1`, ...), what to feed it and the sample it was made of."""

    op: Operator[Any]
    sample: Sample[Any]
    graph: Graph
    feeds: dict[str, Array]


def make_case(op: Operator[Any], sample: Sample[Any]) -> Case:
    ports = [*op.ports, *[op.ports[-1]] * (len(sample.inputs) - len(op.ports))]
    values: list[Value | None] = []
    inputs: list[Value] = []
    feeds: dict[str, Array] = {}
    for i, (port, array) in enumerate(zip(ports, sample.inputs, strict=True)):
        if array is None:
            values.append(None)
        elif port.name in CONSTANT_PORTS:
            values.append(Value.constant(f"{port.name}{i}", ArrayData(array)))
        else:
            value = Value(f"{port.name}{i}", TensorType(DType.of(array.dtype), array.shape))
            values.append(value)
            inputs.append(value)
            feeds[value.name] = array
    node = Node(op, sample.attrs, values, name="n")
    outputs = {"y" if i == 0 else f"y{i}": value for i, value in enumerate(node.outputs)}
    graph = Graph("case", inputs, outputs, [node])
    graph.verify()
    return Case(op, sample, graph, feeds)


def allowed_error(op: Operator[Any], sample: Sample[Any], y: Array) -> Array:
    """Bound of |float32 - float64| for each element of the float64 result `y`.

    A sum of k products in any order is off by at most k * U / (1 - k * U) times the sum of their absolute values
    (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1); library functions are taken to
    be good to a few units in the last place of the result, or of 1 where they are computed by rational
    approximation (tanh, sigmoid). Activations do not stretch errors by more than 1.5 (hard swish).
    """
    arrays = [None if a is None else a.astype(np.float64) for a in sample.inputs]
    x = arrays[0]
    assert x is not None
    sizes = [None if a is None else np.abs(a) for a in arrays]
    attrs = sample.attrs
    magnitude: Array = np.abs(y)
    k = 4.0
    if op.name in EXACT:
        return np.zeros(y.shape)
    if op.name in ("Conv", "ConvTranspose", "Gemm"):
        weight = arrays[1]
        assert weight is not None
        (magnitude,) = op.reference(replace(attrs, activation=None), sizes)
        k = 1.5 * ((weight.size // weight.shape[1] if op.name == "ConvTranspose" else weight[0].size) + 3)
    elif op.name == "AveragePool":
        assert isinstance(attrs, PoolAttrs)
        (magnitude,) = op.reference(attrs, sizes)
        k = math.prod(attrs.kernel_size) + 2
    elif op.name in ("GlobalAveragePool", "ReduceMean", "ReduceSum"):
        (magnitude,) = op.reference(attrs, sizes)
        k = x.size / y.size + 2
    elif op.name == "BatchNormalization":
        _, scale, bias, mean, var = sizes
        assert scale is not None and bias is not None and mean is not None and var is not None
        # (|x| + |mean|) * factor * scale + |bias|: the reference with the sign of the mean turned.
        (magnitude,) = op.reference(attrs, [np.abs(x), scale, bias, -mean, var])
        k = 10
    elif op.name == "LRN":
        k = attrs.size + 8
    elif op.name == "Softmax":
        spread = x.max(axis=attrs.axis, keepdims=True) - x
        k = x.shape[attrs.axis] + 8 + 2 * spread.max()
    elif op.name in ("Add", "Sub"):
        (magnitude,) = operator("Add").reference(replace(attrs, activation=None), sizes)
    elif op.name in ("Sigmoid", "Tanh"):
        magnitude = np.maximum(magnitude, 1)
        k = 8
    elif op.name in ("Elu", "Gelu", "HardSigmoid", "HardSwish", "Swish"):
        magnitude = np.maximum(np.abs(x), 1)
        k = 8
    elif op.name == "QuantizeLinear":
        # One step, and only where the quotient is a tie but for the rounding of the division.
        scale = arrays[1]
        assert scale is not None
        shape = [1] * x.ndim
        if scale.size > 1:
            shape[attrs.axis] = scale.size
        quotient = x / scale.reshape(shape if scale.size > 1 else ())
        tie = np.abs(np.abs(quotient - np.trunc(quotient)) - 0.5) <= 2 * U * np.abs(quotient)
        return tie.astype(np.float64)
    return np.asarray(k * U / (1 - k * U) * magnitude + TINY)


@pytest.fixture(scope="session")
def case() -> Callable[[Operator[Any], Sample[Any]], Case]:
    return make_case


@pytest.fixture(scope="session")
def allowed() -> Callable[[Operator[Any], Sample[Any], Array], Array]:
    return allowed_error
