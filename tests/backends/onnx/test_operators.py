"""Every operator, exported as a graph of one node, against the float64 reference, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from cnnir.backends import reference
from cnnir.backends.onnx import run, to_model
from cnnir.frontends.onnx import from_model
from cnnir.ir import ArrayData, DType, Graph, Node, Operator, Sample, TensorType, Value
from cnnir.ops import operators
from cnnir.ops.activation import Activation, ActivationKind
from cnnir.ops.conv import CONV
from cnnir.ops.elementwise import ADD, BinaryAttrs


def _samples() -> list[Any]:
    return [
        pytest.param(op, sample, id=f"{op.name}-{i}")
        for op in operators()
        for i, sample in enumerate(op.samples(np.random.default_rng(20)))
    ]


@pytest.mark.parametrize(("op", "sample"), _samples())
def test_export_of_each_sample(op: Operator[Any], sample: Sample[Any], case: Any, allowed: Any) -> None:
    one = case(op, sample)
    model = to_model(one.graph)
    onnx.checker.check_model(model, full_check=True)
    got, results = run(one.graph, one.feeds), reference.run(one.graph, one.feeds)
    again = reference.run(from_model(model, "back"), one.feeds)
    for name, expected in results.items():
        y = got[name]
        assert y.shape == expected.shape
        assert y.dtype == one.graph.outputs[name].type.dtype.numpy
        error = np.abs(y.astype(np.float64) - expected)
        bound = allowed(op, sample, expected)
        assert (error <= bound).all(), f"{error.max()} beyond {bound.flat[(error - bound).argmax()]}"
        # In float64 both: only attributes (float32 in ONNX) and decompositions differ, and hardly.
        allowance = np.minimum(bound, 1e-7 * np.maximum(np.abs(expected), 1))
        assert (np.abs(again[name] - expected) <= allowance).all()


def test_the_bound_rejects_a_small_error(case: Any, allowed: Callable[..., Any]) -> None:
    """A weight that is wrong in its eleventh bit is seen."""
    sample = next(CONV.samples(np.random.default_rng(1)))
    x, weight, bias, residual = sample.inputs
    assert weight is not None
    right = case(CONV, sample)
    wrong = case(CONV, Sample(sample.attrs, (x, weight * np.float32(1 + 2**-11), bias, residual)))
    expected = reference.run(right.graph, right.feeds)["y"]
    error = np.abs(run(wrong.graph, wrong.feeds)["y"] - expected)
    assert (error > allowed(CONV, sample, expected)).any()


ACTIVATIONS = [
    Activation(ActivationKind.RELU),
    Activation(ActivationKind.CLIP, 0, 6),
    Activation(ActivationKind.CLIP, -np.inf, 0.5),
    Activation(ActivationKind.CLIP, -0.5, np.inf),
    Activation(ActivationKind.CLIP, -np.inf, np.inf),
    Activation(ActivationKind.LEAKY_RELU, 0.125),
    Activation(ActivationKind.ELU, 1.5),
    Activation(ActivationKind.SIGMOID),
    Activation(ActivationKind.TANH),
    Activation(ActivationKind.HARD_SIGMOID, 0.25, 0.5),
    Activation(ActivationKind.HARD_SWISH),
    Activation(ActivationKind.SILU),
    Activation(ActivationKind.GELU),
    Activation(ActivationKind.EXP),
    Activation(ActivationKind.NEG),
    Activation(ActivationKind.ABS),
]


def test_every_kind_of_activation_is_tried() -> None:
    assert {a.kind for a in ACTIVATIONS} | {ActivationKind.SQRT} == set(ActivationKind)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: f"{a.kind}-{a.alpha}-{a.beta}")
def test_epilogue_is_spelt_out(activation: Activation, case: Any) -> None:
    """Convolution + bias + residual + activation equals the reference that does them in that order."""
    sample = list(CONV.samples(np.random.default_rng(2)))[1]
    assert sample.inputs[2] is not None and sample.inputs[3] is not None
    one = case(CONV, replace(sample, attrs=replace(sample.attrs, activation=activation)))
    y = run(one.graph, one.feeds)["y"]
    expected = reference.run(one.graph, one.feeds)["y"]
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)
    kinds = [n.op_type for n in to_model(one.graph).graph.node]
    assert kinds[:2] == ["Conv", "Add"] and len(kinds) >= 3


def test_activation_of_an_addition(case: Any) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal((1, 2, 3, 3), dtype=np.float32) for _ in range(2))
    one = case(ADD, Sample(BinaryAttrs(Activation(ActivationKind.SILU)), (a, b)))
    s = a.astype(np.float64) + b
    np.testing.assert_allclose(run(one.graph, one.feeds)["y"], s / (1 + np.exp(-s)), rtol=1e-5, atol=1e-6)


def test_constant_shared_by_two_nodes_is_written_once() -> None:
    x = Value("x", TensorType(DType.F32, (1, 2)))
    shared = Value.constant("c", ArrayData(np.ones(2, np.float32)))
    first = Node(ADD, BinaryAttrs(), [x, shared], name="a")
    second = Node(ADD, BinaryAttrs(), [first.output, shared], name="b")
    model = to_model(Graph("g", [x], {"y": second.output}, [first, second]))
    assert [t.name for t in model.graph.initializer] == ["c"]
