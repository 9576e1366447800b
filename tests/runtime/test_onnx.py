"""Artifacts that hold an ONNX model."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir import runtime
from cnnir.artifact import Manifest, OnnxExecution, TensorSpec, write
from cnnir.errors import CnnirError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = relu(x), s = x + x, for a batch of 2."""
    from onnx import TensorProto, helper

    x, y, s = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xys")
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["x", "x"], ["s"])]
    graph = helper.make_graph(nodes, "tiny", [x], [y, s])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("onnx") / "tiny.cnnmod"
    manifest = Manifest(
        model="tiny",
        inputs=(TensorSpec("x", "float32", (2, 3)),),
        # In another order than in the model: names count.
        outputs=(TensorSpec("s", "float32", (2, 3)), TensorSpec("y", "float32", (2, 3))),
        execution=OnnxExecution(),
        target="onnx",
        batch=2,
    )
    write(path, manifest, {"model.onnx": proto.SerializeToString()})
    return path


@pytest.mark.parametrize("batch", [2, 5, 0])
def test_runs_in_onnx_runtime(model: Path, batch: int) -> None:
    module = runtime.load(model, threads=1)
    x = np.random.default_rng(0).standard_normal((batch, 3)).astype(np.float32)
    results = module(x)
    assert list(results) == ["s", "y"]
    np.testing.assert_array_equal(results["y"], np.maximum(x, 0))
    np.testing.assert_array_equal(results["s"], x + x)


def test_without_onnx_runtime_one_sentence(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(CnnirError, match="runs in ONNX Runtime, which is not installed"):
        runtime.load(model)
