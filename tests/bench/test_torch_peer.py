"""The torch peer computes what the operators mean, on every sample of every operator it has."""

from __future__ import annotations

import numpy as np
import pytest

import cnnir.ops  # noqa: F401  # fills the registry
from cnnir.bench.torch_peer import _TABLE, to_torch
from cnnir.errors import CnnirError
from cnnir.ir import ArrayData, Graph, Node, Sample, TensorType, Value
from cnnir.ir.registry import operator, operators
from cnnir.ir.types import DType
from cnnir.ops.activation import UnaryOperator

torch = pytest.importorskip("torch")

NAMES = sorted([*_TABLE, *(o.name for o in operators() if isinstance(o, UnaryOperator))])


def graph_of(name: str, sample: Sample) -> Graph:
    """One node: its first input is the graph's, the others are constants."""
    op, values = operator(name), []
    for i, array in enumerate(sample.inputs):
        if array is None:
            values.append(None)
        elif i == 0:
            values.append(Value("x", TensorType(DType.of(array.dtype), array.shape)))
        else:
            values.append(Value.constant(f"c{i}", ArrayData(array)))
    node = Node(op, sample.attrs, values, name="node")
    return Graph(name, [values[0]], {"y": node.output}, [node])


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_agrees_with_the_float64_reference(name: str) -> None:
    for sample in operator(name).samples(np.random.default_rng(0)):
        graph = graph_of(name, sample)
        x = sample.inputs[0]
        doubled = [None if a is None else a.astype(np.float64) for a in sample.inputs]
        (expected,) = operator(name).reference(sample.attrs, doubled)
        with torch.no_grad():
            (actual,) = to_torch(graph, batch=len(x))(torch.from_numpy(x.copy()))
        assert tuple(actual.shape) == expected.shape, sample.attrs
        # No sample sums over more than 3,000 products of size about 1; transcendentals cost some ulps more.
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(
            actual.numpy(), expected, rtol=2e-5, atol=1e-5 * scale, err_msg=str(sample.attrs)
        )


def test_an_operator_without_counterpart_is_named() -> None:
    sample = next(iter(operator("QuantizeLinear").samples(np.random.default_rng(0))))
    with pytest.raises(CnnirError, match="'QuantizeLinear' has no counterpart"):
        to_torch(graph_of("QuantizeLinear", sample), batch=1)
