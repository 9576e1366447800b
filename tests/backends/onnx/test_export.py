"""Names, files and refusals of the ONNX export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cnnir.backends.onnx import compile_graph, run, run_model, save, to_bytes, to_model
from cnnir.backends.onnx.writers import WRITERS
from cnnir.errors import CnnirError
from cnnir.ir import BATCH, ArrayData, DType, Graph, LazyData, Node, Operator, TensorType, Value
from cnnir.ops import operators
from cnnir.ops.activation import RELU, SIGMOID, NoAttrs, UnaryOperator
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.elementwise import ADD, BinaryAttrs

X = np.array([[-1.0, 2.0]], np.float32)


def _input(name: str = "x", batch: int = 1) -> Value:
    return Value(name, TensorType(DType.F32, (batch, 2)))


def _relu(x: Value, name: str) -> Node:
    return Node(RELU, NoAttrs(), [x], name=name)


def test_every_operator_has_a_writer() -> None:
    assert {op for op in operators() if not isinstance(op, UnaryOperator)} == set(WRITERS)


def test_symbolic_batch_is_called_n() -> None:
    x = _input(batch=BATCH)
    node = _relu(x, "r")
    model = to_model(Graph("g", [x], {"y": node.output}, [node]))
    for info in (model.graph.input[0], model.graph.output[0]):
        assert info.type.tensor_type.shape.dim[0].dim_param == "N"
        assert info.type.tensor_type.shape.dim[1].dim_value == 2
    many = np.array([[-1, 1], [2, -2], [3, 3]], np.float32)
    np.testing.assert_array_equal(run_model(model.SerializeToString(), {"x": many})["y"], np.maximum(many, 0))


def test_outputs_that_are_inputs_or_constants_keep_their_names() -> None:
    x = _input()
    constant = Value.constant("k", ArrayData(np.array([4.0], np.float32)))
    node = _relu(x, "r")
    outputs = {"passed": x, "fixed": constant, "y": node.output, "y_again": node.output}
    got = run(Graph("g", [x], outputs, [node]), {"x": X})
    assert list(got) == list(outputs)
    np.testing.assert_array_equal(got["passed"], X)
    np.testing.assert_array_equal(got["fixed"], [4.0])
    np.testing.assert_array_equal(got["y"], np.maximum(X, 0))
    np.testing.assert_array_equal(got["y_again"], np.maximum(X, 0))


def test_an_output_may_be_an_input_under_its_own_name() -> None:
    x = _input()
    node = _relu(x, "r")
    got = run(Graph("g", [x], {"x": x, "y": node.output}, [node]), {"x": X})
    np.testing.assert_array_equal(got["x"], X)


def test_an_output_takes_its_name_from_an_inner_value() -> None:
    """The output is called as another value of the graph: that one must give way."""
    x = _input()
    first = _relu(x, "y")
    second = Node(SIGMOID, NoAttrs(), [first.output], name="s")
    got = run(Graph("g", [x], {"y": second.output}, [first, second]), {"x": X})
    np.testing.assert_allclose(got["y"], 1 / (1 + np.exp(-np.maximum(X, 0))), rtol=1e-6)


def test_an_output_called_as_another_input_is_refused() -> None:
    x, other = _input("x"), _input("other")
    node = Node(ADD, BinaryAttrs(), [x, other], name="a")
    with pytest.raises(CnnirError, match="'other' names an input and another output"):
        to_model(Graph("g", [x, other], {"other": node.output}, [node]))


def test_origins_are_kept_as_metadata() -> None:
    x = Value("x", TensorType(DType.F32, (1, 1, 2, 2)))
    weight = Value.constant("w", ArrayData(np.ones((1, 1, 1, 1), np.float32)))
    fused = Node(CONV, ConvAttrs((1, 1)), [x, weight, None, None], name="c", origins=("conv1", "bn1"))
    model = to_model(Graph("g", [x], {"y": fused.output}, [fused]))
    assert {p.key: p.value for p in model.graph.node[0].metadata_props} == {"origins": "conv1, bn1"}


def test_operator_without_a_writer_is_named() -> None:
    class Strange(Operator[NoAttrs]):
        name = "Strange"
        ports = RELU.ports
        attrs_type = NoAttrs

        def infer(self, attrs: NoAttrs, inputs: Any) -> Any:
            return (inputs[0],)

    x = _input()
    node = Node(Strange(), NoAttrs(), [x], name="odd")
    with pytest.raises(CnnirError, match="node 'odd': Operator 'Strange' cannot be written as ONNX"):
        to_model(Graph("g", [x], {"y": node.output}, [node]))


def test_more_than_two_gigabytes_are_refused_before_they_are_read() -> None:
    def never() -> Any:
        raise AssertionError("the weights were read")

    shape = (1 << 17, 1 << 13)
    huge = Value.constant("w", LazyData(shape, DType.F32, never))
    x = Value("x", TensorType(DType.F32, shape))
    node = Node(ADD, BinaryAttrs(), [x, huge], name="a")
    with pytest.raises(CnnirError, match=r"take 4\.0 GB; an ONNX file holds at most 2 GB"):
        to_model(Graph("g", [x], {"y": node.output}, [node]))


def _small() -> Graph:
    x = _input()
    node = _relu(x, "r")
    return Graph("g", [x], {"y": node.output}, [node])


def test_save_writes_a_model_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(_small(), path)
    onnx.checker.check_model(str(path), full_check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_save_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    with pytest.raises(CnnirError, match=r"model\.onnx' cannot be written"):
        save(_small(), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    with pytest.raises(CnnirError, match="missing"):
        save(_small(), tmp_path / "missing" / "model.onnx")


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert to_bytes(_small()) == to_bytes(_small())


def test_compiled_product_is_the_model() -> None:
    product = compile_graph(_small())
    assert product.execution.to_json() == {"kind": "onnx", "model": "model.onnx"}
    (data,) = product.members.values()
    assert isinstance(data, bytes)
    np.testing.assert_array_equal(run_model(data, {"x": X})["y"], np.maximum(X, 0))
    assert product.plan["operators"] == {"Relu": 1}
