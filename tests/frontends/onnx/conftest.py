"""Small ONNX models built by hand, and their results in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cnnir.backends import reference
from cnnir.backends.onnx import run_model
from cnnir.frontends.onnx import from_model
from cnnir.ir import Array, Graph

Shape = Sequence[int | str]


def make_model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str] = ("y",),
    weights: Mapping[str, Array] | None = None,
    opset: int = 13,
    output_type: int = onnx.TensorProto.FLOAT,
) -> Any:
    """A model with float inputs of those shapes."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, output_type, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def check_model(model: Any, *, batch: int = 2, seed: int = 0, low: float = -2, high: float = 2) -> Graph:
    """Imports, runs in the float64 reference, and compares with ONNX Runtime on the original model.

    float32 against float64 with at most some thousand products in a row: 1e-5 of the largest element.
    """
    rng = np.random.default_rng(seed)
    feeds = {
        i.name: rng.uniform(low, high, [d.dim_value or batch for d in i.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for i in model.graph.input
        if i.name not in {t.name for t in model.graph.initializer}
    }
    graph = from_model(model, "test")
    graph.verify()
    got = reference.run(graph, feeds)
    expected = run_model(model.SerializeToString(), feeds)
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].shape == array.shape
        scale = max(float(np.abs(array).max(initial=0)), 1e-6)
        assert np.abs(got[name] - array).max(initial=0) <= 1e-5 * scale
    return graph


@pytest.fixture(scope="session")
def model() -> Callable[..., Any]:
    return make_model


@pytest.fixture(scope="session")
def agrees() -> Callable[..., Graph]:
    return check_model
