"""Every sample of every operator against ONNX Runtime: another implementation of the same definition.

Bound: both sides start from the same float32 numbers. Ours is exact to float64; a float32 kernel that adds n
products in any order is off by at most about n * u * (sum of magnitudes), u = 2^-24 (Higham, "Accuracy and
Stability of Numerical Algorithms", section 3.1). The magnitudes come from the reference run on absolute values.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from cnnir.ir import Array, DType, Operator, Sample, TensorType
from cnnir.ops import (
    conv,
    conv_transpose,
    dense,
    layout,
    normalization,
    operators,
    pool,
    quantize,
    reduce,
    shape,
    unpool,
)
from cnnir.ops.activation import CLIP, ELU, HARD_SIGMOID, LEAKY_RELU, SILU, Activation, ActivationKind

U = 2.0**-24
OPSET = 22

# ONNX Runtime approximates these by polynomials: a few units in the last place of the largest intermediate.
TRANSCENDENTAL = {"Sigmoid", "Tanh", "Gelu", "Exp", "Elu", "Swish", "Softmax", "Pow", "LRN"}

# No ONNX counterpart; two outputs: see test_unpool.py.
ELSEWHERE = (layout.REORDER, unpool.MAX_POOL_INDICES)

SAMPLES: list[tuple[Operator[Any], int, Sample[Any]]] = [
    (op, i, sample)
    for op in operators()
    if op not in ELSEWHERE
    for i, sample in enumerate(op.samples(np.random.default_rng(7)))
]


def attributes(op: Operator[Any], attrs: Any) -> dict[str, Any]:
    """The ONNX attributes of a node."""
    if isinstance(attrs, pool.PoolAttrs):
        found = {
            "kernel_shape": attrs.kernel_size,
            "strides": attrs.stride,
            "pads": attrs.pads,
            "dilations": attrs.dilation,
            "ceil_mode": int(attrs.ceil_mode),
        }
        if isinstance(attrs, pool.AveragePoolAttrs):
            found["count_include_pad"] = int(attrs.count_include_pad)
        return found
    if op is conv.CONV:
        return {
            "kernel_shape": attrs.kernel_size,
            "strides": attrs.stride,
            "pads": attrs.pads,
            "dilations": attrs.dilation,
            "group": attrs.groups,
        }
    if op is conv_transpose.CONV_TRANSPOSE:
        return {
            "kernel_shape": attrs.kernel_size,
            "strides": attrs.stride,
            "pads": attrs.pads,
            "output_padding": attrs.output_padding,
            "dilations": attrs.dilation,
            "group": attrs.groups,
        }
    if op is unpool.MAX_UNPOOL:
        return {"kernel_shape": attrs.kernel_size, "strides": attrs.stride, "pads": attrs.pads}
    if op is dense.DENSE:
        return {"transB": 1}
    if op is normalization.BATCH_NORM:
        return {"epsilon": attrs.epsilon}
    if op is normalization.LRN:
        return {"size": attrs.size, "alpha": attrs.alpha, "beta": attrs.beta, "bias": attrs.bias}
    if op in (LEAKY_RELU, ELU):
        return {"alpha": attrs.alpha}
    if op is HARD_SIGMOID:
        return {"alpha": attrs.alpha, "beta": attrs.beta}
    if isinstance(op, reduce.ReduceOperator):
        return {"keepdims": int(attrs.keepdims)}
    if op is shape.TRANSPOSE:
        return {"perm": attrs.perm}
    if op in (reduce.SOFTMAX, shape.FLATTEN, shape.CONCAT, quantize.QUANTIZE_LINEAR, quantize.DEQUANTIZE_LINEAR):
        return {"axis": attrs.axis}
    return {}


def extra_inputs(op: Operator[Any], attrs: Any) -> list[Array | None]:
    """What ONNX has as inputs and we as attributes."""

    def ints(values: tuple[int, ...]) -> Array:
        return np.array(values, np.int64)

    if op is CLIP:
        return [None if math.isinf(v) else np.array(v, np.float32) for v in (attrs.min, attrs.max)]
    if isinstance(op, reduce.ReduceOperator) or op in (shape.SQUEEZE, shape.UNSQUEEZE):
        return [ints(attrs.axes)]
    if op is shape.RESHAPE:
        return [ints(attrs.shape)]
    if op is shape.SLICE:
        return [ints(attrs.starts), ints(attrs.ends), ints(attrs.axes), ints(attrs.steps)]
    if op is shape.PAD:
        return [ints(attrs.pads), np.array(attrs.value, np.float32)]
    return []


def onnx_nodes(op: Operator[Any], sample: Sample[Any]) -> Iterator[tuple[str, list[Array | None], dict[str, Any]]]:
    """(operator, further inputs, attributes) of the chain that means the sample; the epilogue comes last."""
    inputs = list(sample.inputs)
    if op is SILU:  # an operator since opset 24 only
        yield "Sigmoid", inputs, {}
        yield "Mul", inputs[:1], {}
        return
    residual = inputs.pop() if op is conv.CONV else None
    yield op.name, inputs + extra_inputs(op, sample.attrs), attributes(op, sample.attrs)
    if residual is not None:
        yield "Add", [residual], {}
    activation = getattr(sample.attrs, "activation", None)
    if activation is not None:
        assert activation == Activation(ActivationKind.RELU)
        yield "Relu", [], {}


def run_onnx(op: Operator[Any], sample: Sample[Any], out: TensorType) -> Array:
    feeds: dict[str, Array] = {}
    nodes = []
    previous: list[str] = []
    for step, (name, inputs, attrs) in enumerate(onnx_nodes(op, sample)):
        names = list(previous)
        for i, array in enumerate(inputs):
            if array is not None:
                feeds[f"in{step}_{i}"] = array
            names.append("" if array is None else f"in{step}_{i}")
        while names and not names[-1]:
            names.pop()
        previous = [f"out{step}"]
        nodes.append(helper.make_node(name, names, previous, **attrs))
    constants = [numpy_helper.from_array(array, name) for name, array in feeds.items() if name != "in0_0"]
    x = feeds["in0_0"]
    graph = helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info("in0_0", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info(previous[0], helper.np_dtype_to_tensor_dtype(out.dtype.numpy), out.shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    if op is normalization.LRN and sample.attrs.size % 2 == 0:
        # ONNX defines it, ONNX Runtime refuses it: the evaluator of the onnx package decides. It runs its channel
        # loop to the batch size, so the batch is made as long as the channels.
        assert x.shape[0] == 1
        (result,) = ReferenceEvaluator(model).run(None, {"in0_0": np.repeat(x, x.shape[1], axis=0)})
        return np.asarray(result)[:1]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    (result,) = session.run(None, {"in0_0": x})
    return np.asarray(result)


def wide(array: Array | None) -> Array | None:
    return array.astype(np.float64) if array is not None and array.dtype == np.float32 else array


def magnitude(op: Operator[Any], sample: Sample[Any], exact: Array) -> Array | float:
    """An upper bound of the sum of the magnitudes that the kernel adds up, times their number."""
    inputs = [wide(x) for x in sample.inputs]
    if op in (conv.CONV, dense.DENSE, conv_transpose.CONV_TRANSPOSE):
        bare = type(sample.attrs)(**{**vars(sample.attrs), "activation": None})
        (total,) = op.reference(bare, [None if x is None else np.abs(x) for x in inputs])
        weight = inputs[1]
        assert weight is not None
        terms = weight.size // weight.shape[1] if op is conv_transpose.CONV_TRANSPOSE else weight[0].size
        return total * (terms + 2)
    if op is normalization.BATCH_NORM:
        x, scale, bias, mean, var = (np.abs(a) for a in inputs if a is not None)
        (total,) = op.reference(sample.attrs, (x, scale, bias, -mean, var))
        return total * 8
    if op.name in ("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"):
        (x,) = inputs
        assert x is not None
        (total,) = op.reference(sample.attrs, (np.abs(x),))
        return total * x[0].size
    if op.name in ("HardSigmoid", "HardSwish"):  # slope * x and offset may cancel
        (x,) = inputs
        assert x is not None
        line = np.abs(x) * getattr(sample.attrs, "alpha", 1 / 6) + 0.5
        return line * (np.abs(x) if op.name == "HardSwish" else 1) * 4
    if op.name in ("Add", "Sub"):
        a, b = inputs
        assert a is not None and b is not None
        return np.abs(a) + np.abs(b)
    if op.name in TRANSCENDENTAL:
        x = inputs[0]
        assert x is not None
        # The argument's own rounding, carried through exp and pow: relative error up to |x| u.
        return np.maximum(np.abs(exact), np.abs(exact).max() * 0.1) * (8 + float(np.abs(x).max()))
    return np.abs(exact) * 4


@pytest.mark.parametrize(
    ("op", "sample"), [pytest.param(op, sample, id=f"{op.name}-{i}") for op, i, sample in SAMPLES]
)
def test_reference_agrees(op: Operator[Any], sample: Sample[Any]) -> None:
    types = [None if x is None else TensorType(DType.of(x.dtype), x.shape) for x in sample.inputs]
    (inferred,) = op.infer(sample.attrs, types)
    (exact,) = op.reference(sample.attrs, [wide(x) for x in sample.inputs])
    theirs = run_onnx(op, sample, inferred)
    assert inferred.shape == exact.shape == theirs.shape
    assert inferred.dtype == DType.of(theirs.dtype)
    if not inferred.dtype.is_float:
        # x / scale may fall on the other side of a half in float32; the sample of exact halves leaves no doubt.
        scale = sample.inputs[1]
        assert scale is not None
        assert np.abs(exact.astype(int) - theirs.astype(int)).max() <= (0 if (scale == 1).all() else 1)
        assert (exact == theirs).mean() > 0.95
        return
    bound = magnitude(op, sample, exact) * U + 1e-30
    error = np.abs(exact - theirs)
    assert (error <= bound).all(), f"error {error.max()} where {np.max(bound)} is allowed"


@pytest.mark.parametrize(
    ("op", "sample"), [pytest.param(op, sample, id=f"{op.name}-{i}") for op, i, sample in SAMPLES]
)
def test_float32_reference_stays_float32_and_near(op: Operator[Any], sample: Sample[Any]) -> None:
    (exact,) = op.reference(sample.attrs, [wide(x) for x in sample.inputs])
    (single,) = op.reference(sample.attrs, sample.inputs)
    types = [None if x is None else TensorType(DType.of(x.dtype), x.shape) for x in sample.inputs]
    assert DType.of(single.dtype) == op.infer(sample.attrs, types)[0].dtype
    if single.dtype == np.float32:
        assert (np.abs(single - exact) <= magnitude(op, sample, exact) * U + 1e-30).all()


def test_every_operator_is_covered() -> None:
    assert {op.name for op, _, _ in SAMPLES} == {op.name for op in operators()} - {op.name for op in ELSEWHERE}
    assert len({op.name for op, _, _ in SAMPLES}) >= 38
