"""What cannot be imported is refused in one sentence, whatever the file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.helper import make_node

from cnnir.errors import CnnirError
from cnnir.frontends.onnx import CONSTANTS_ONLY, SUPPORTED, from_model, load

IMAGE = ("N", 3, 8, 8)
W = np.ones((4, 3, 3, 3), np.float32)
CONV = make_node("Conv", ["x", "w"], ["y"], name="conv1")


def _refusal(model: Any) -> str:
    with pytest.raises(CnnirError) as caught:
        from_model(model, "net", file="net.onnx")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_unsupported_operators_are_all_listed(model: Any) -> None:
    nodes = [
        make_node("GlobalAveragePooling", ["x"], ["a"], name="pool"),
        make_node("Einsum", ["a"], ["b"], name="e1", equation="ij->ji"),
        make_node("Einsum", ["b"], ["c"], name="e2", equation="ij->ji"),
        make_node("FusedConv", ["c", "w"], ["y"], name="fused", domain="com.microsoft"),
    ]
    text = _refusal(model(nodes, {"x": IMAGE}, weights={"w": W}, opset=13))
    assert text.startswith(
        "net.onnx: node 'pool': ONNX operator 'GlobalAveragePooling' (opset 13) is not supported."
    )
    assert "'GlobalAveragePooling' is 'GlobalAveragePool'" in text
    assert "Einsum (2 nodes, first 'e1')" in text
    assert "com.microsoft.FusedConv (node 'fused')" in text
    assert "Supported: Abs, Add, AveragePool, " in text


@pytest.mark.parametrize(
    ("node", "weights", "shape", "words"),
    [
        (make_node("Resize", ["x", "", "s"], ["y"], name="up"), {"s": W[0, 0, 0]}, IMAGE, "'up': 'Resize'"),
        (CONV, {"w": np.ones((4, 3, 3), np.float32)}, ("N", 3, 8), "1-D 'Conv' is not supported"),
        (CONV, {"w": np.ones((4, 3, 3, 3, 3), np.float32)}, ("N", 3, 8, 8, 8), "3-D 'Conv' is not supported"),
        (CONV, {"w": np.ones((4, 3, 9, 3), np.float32)}, IMAGE, "input 8 with padding 0+0 is smaller than"),
        (make_node("Conv", ["x", "w"], ["y"], group=2), {"w": W}, IMAGE, "3 input channels do not divide into 2"),
        (make_node("Conv", ["x", "w"], ["y"], pads=[1, 1]), {"w": W}, IMAGE, "expected four integers, got [1, 1]"),
        (make_node("Conv", ["x", "w"], ["y"], strides=2), {"w": W}, IMAGE, "Mismatched attribute type"),
        (make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME"), {"w": W}, IMAGE, "Unknown auto_pad 'SAME'"),
        (make_node("Conv", ["x", "w"], ["y"], stride=[2, 2]), {"w": W}, IMAGE, "Unrecognized attribute: stride"),
        (make_node("Conv", ["x", "nowhere"], ["y"]), {}, IMAGE, "nowhere"),
        (make_node("MaxPool", ["x"], ["y"]), {}, IMAGE, "Required attribute 'kernel_shape' is missing"),
        (make_node("Pad", ["x", "p"], ["y"], mode="reflect"), {"p": np.zeros(8, np.int64)}, IMAGE, "'reflect'"),
        (make_node("Clip", ["x", "l", "h"], ["y"]), {"l": np.float32(2), "h": np.float32(1)}, IMAGE, "min <= max"),
        (make_node("Clip", ["x", "x"], ["y"]), {}, IMAGE, "Expected a constant as the bound 'min' of 'Clip'"),
        (make_node("Reshape", ["x", "s"], ["y"]), {"s": np.array([2, -1])}, IMAGE, "would mix the unknown batch"),
        (make_node("Reshape", ["x", "s"], ["y"]), {"s": np.array([0, 7])}, IMAGE, "does not keep the number"),
        (make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2, 3]), {}, IMAGE, "off axis 0"),
        (make_node("ReduceMean", ["x"], ["y"]), {}, IMAGE, "while the batch size N is unknown"),
        (make_node("Cast", ["x"], ["y"], to=TensorProto.INT32), {}, IMAGE, "'Cast' of the computed tensor"),
        (make_node("Gather", ["x", "i"], ["y"]), {"i": np.array([1, 2])}, IMAGE, "one index only"),
        (make_node("Concat", ["x", "x"], ["y"], axis=7), {}, IMAGE, "Axis 7 of 'Concat' is out of range for 4"),
        (make_node("Range", ["x", "x", "x"], ["y"]), {}, (), "'Range' is supported on constants and sizes only"),
        (make_node("Dropout", ["x"], ["v", "y"]), {}, IMAGE, "Only the first output of"),
        (
            make_node("MaxPool", ["x"], ["v", "y"], kernel_shape=[2, 2], storage_order=1),
            {},
            IMAGE,
            "column-major order",
        ),
        (
            make_node("ConvTranspose", ["x", "w"], ["y"], output_shape=[40, 40]),
            {"w": np.ones((3, 2, 2, 2), np.float32)},
            IMAGE,
            "cannot give an output of",
        ),
        (
            make_node("BatchNormalization", ["x", "v", "v", "v", "v"], ["y", "m", "n"], training_mode=1),
            {"v": np.ones(3, np.float32)},
            IMAGE,
            "training mode",
        ),
        (make_node("Dropout", ["x", "", "t"], ["y"]), {"t": np.array(True)}, IMAGE, "training mode"),
    ],
    ids=lambda p: p if isinstance(p, str) else "",
)  # fmt: skip
def test_refused_node(node: Any, weights: Any, shape: Any, words: str, model: Any) -> None:
    text = _refusal(model([node], {"x": shape}, weights=weights, opset=15))
    assert text.startswith("net.onnx")
    assert words in text


def test_weight_that_is_an_input(model: Any) -> None:
    text = _refusal(model([CONV], {"x": IMAGE, "w": W.shape}))
    assert text.startswith("net.onnx: node 'conv1': Expected a constant as the weight of 'Conv'")
    assert "the graph input 'w'" in text


def test_dynamic_height(model: Any) -> None:
    text = _refusal(model([CONV], {"x": ("N", 3, "height", 8)}, weights={"w": W}))
    assert text.startswith("net.onnx: input 'x': Dimension 2 is 'height': expected a number")
    assert "--dim_param height --dim_value SIZE" in text


def test_the_hint_for_dynamic_sizes_works(model: Any, tmp_path: Path) -> None:
    """The tool that the message names turns the model into one that imports."""
    tool = pytest.importorskip("onnxruntime.tools.onnx_model_utils")
    proto = model([CONV], {"x": ("N", 3, "height", 8)}, weights={"w": W})
    tool.make_dim_param_fixed(proto.graph, "height", 8)
    assert from_model(proto, "net").inputs[0].type.shape == (-1, 3, 8, 8)


def test_input_without_a_shape(model: Any) -> None:
    proto = model([make_node("Relu", ["x"], ["y"])], {"x": IMAGE})
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert "input 'x': Its shape is not known" in _refusal(proto)


def test_input_of_strings(model: Any) -> None:
    proto = model([make_node("Identity", ["x"], ["y"])], {"x": IMAGE})
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    assert _refusal(proto).startswith("net.onnx: input 'x': Element type")


@pytest.mark.parametrize(("opset", "words"), [(6, "Opset 6 is not supported"), (999, "Opset 999 is newer than")])
def test_opset_out_of_range(opset: int, words: str, model: Any) -> None:
    assert words in _refusal(model([make_node("Relu", ["x"], ["y"])], {"x": IMAGE}, opset=opset))


def test_empty_models(model: Any) -> None:
    assert "does not say which opset" in _refusal(onnx.ModelProto())
    assert "no nodes" in _refusal(model([], {"x": IMAGE}))


def test_weights_of_the_wrong_length(model: Any) -> None:
    proto = model([CONV], {"x": IMAGE}, weights={"w": W})
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    assert "Cannot read the weights 'w'" in _refusal(proto)


def test_nodes_out_of_order(model: Any) -> None:
    nodes = [make_node("Relu", ["a"], ["y"]), make_node("Relu", ["x"], ["a"])]
    text = _refusal(model(nodes, {"x": IMAGE}))
    assert "Not a valid ONNX model. Nodes in a graph must be topologically sorted" in text


def test_constant_too_large_to_evaluate(model: Any) -> None:
    nodes = [
        make_node("ConstantOfShape", ["s"], ["c"], name="fill"),
        make_node("Add", ["x", "c"], ["y"]),
    ]
    text = _refusal(model(nodes, {"x": IMAGE}, weights={"s": np.array([1 << 20, 1 << 20])}))
    assert "node 'fill': 'ConstantOfShape' asks for a constant of shape" in text


def test_batch_size_squared(model: Any) -> None:
    nodes = [
        make_node("Shape", ["x"], ["s"]),
        make_node("Mul", ["s", "s"], ["t"], name="square"),
        make_node("Reshape", ["x", "t"], ["y"]),
    ]
    assert "node 'square': Cannot evaluate 'Mul' of constants" in _refusal(model(nodes, {"x": IMAGE}))


def test_output_that_depends_on_the_batch_size(model: Any) -> None:
    nodes = [make_node("Shape", ["x"], ["y"])]
    proto = model(nodes, {"x": IMAGE}, output_type=TensorProto.INT64)
    assert "output 'y': Computes with 'y', a size that depends on the batch size" in _refusal(proto)


# -- files


def _file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    return path


def _network(model: Any) -> bytes:
    rng = np.random.default_rng(0)
    nodes = [
        make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        make_node("BatchNormalization", ["c", "b", "b", "b", "v"], ["n"]),
        make_node("Clip", ["n", "lo", "hi"], ["r"]),
        make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        make_node("Shape", ["p"], ["s"]),
        make_node("Gather", ["s", "i"], ["k"]),
        make_node("Concat", ["k", "open"], ["t"], axis=0),
        make_node("Reshape", ["p", "t"], ["f"]),
        make_node("Gemm", ["f", "m"], ["g"], transB=1),
        make_node("Slice", ["g", "i", "two", "one"], ["q"]),
        make_node("Softmax", ["q"], ["y"]),
    ]
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": np.ones(4, np.float32),
        "v": np.ones(4, np.float32),
        "lo": np.float32(0),
        "hi": np.float32(6),
        "i": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "open": np.array([-1]),
        "m": rng.standard_normal((5, 16)).astype(np.float32),
    }
    data: bytes = model(nodes, {"x": IMAGE}, weights=weights).SerializeToString()
    return data


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match=r"There is no file '.*net\.onnx'"):
        load(tmp_path / "net.onnx")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match="Cannot read"):
        load(tmp_path)


def test_truncated_file(model: Any, tmp_path: Path) -> None:
    """No prefix of a model imports, and none fails otherwise than in words."""
    data = _network(model)
    assert load(_file(tmp_path, data)).nodes
    for length in [*range(0, len(data), 7), len(data) - 1]:
        with pytest.raises(CnnirError):
            load(_file(tmp_path, data[:length]))


def test_random_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 10, 100, 1000, 10000):
        with pytest.raises(CnnirError):
            load(_file(tmp_path, rng.bytes(size)))
    with pytest.raises(CnnirError, match="is not an ONNX model"):
        load(_file(tmp_path, b"import torch\n" * 20))


def test_flipped_bytes(model: Any, tmp_path: Path) -> None:
    """A damaged model imports (a weight changed) or is refused in words."""
    data = _network(model)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(800):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[position] = rng.integers(0, 256)
        try:
            load(_file(tmp_path, bytes(damaged)))
        except CnnirError:
            refused += 1
    assert refused > 100


def test_changed_numbers(model: Any) -> None:
    """Numbers and names changed at random inside a well-formed model: it imports or is refused in words."""
    proto = onnx.load_model_from_string(_network(model))
    rng = np.random.default_rng(2)
    tensors = [*(t.name for t in proto.graph.initializer), *(o for n in proto.graph.node for o in n.output), ""]
    numbers = [-(2**63), -2, -1, 0, 1, 2, 3, 7, 2**31, 2**62]
    refusals: list[CnnirError] = []
    for _ in range(1000):
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        node = changed.graph.node[rng.integers(len(changed.graph.node))]
        number = numbers[rng.integers(len(numbers))]
        kind = rng.integers(4)
        if kind == 0:
            node.input[rng.integers(len(node.input))] = tensors[rng.integers(len(tensors))]
        elif kind == 1:
            node.op_type = sorted(SUPPORTED | CONSTANTS_ONLY)[rng.integers(len(SUPPORTED | CONSTANTS_ONLY))]
        elif kind == 2 and node.attribute:
            attribute = node.attribute[0]
            if attribute.ints:
                attribute.ints[rng.integers(len(attribute.ints))] = number
            else:
                attribute.i = number
        else:
            name = ("i", "one", "two", "open")[rng.integers(4)]
            tensor = next(t for t in changed.graph.initializer if t.name == name)
            tensor.raw_data = np.array([number], np.int64).tobytes()
        try:
            from_model(changed, "net")
        except CnnirError as error:
            refusals.append(error)
    assert len(refusals) > 300
    assert {e.exit_code for e in refusals} == {2}, "a bug of ours was reported"


def test_external_weights(model: Any, tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(_network(model))
    path = tmp_path / "net.onnx"
    onnx.save_model(proto, str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    graph = load(path)
    w = next(v for v in graph.constants() if v.name == "w")
    assert w.data is not None
    stored = next(t for t in onnx.load_model_from_string(_network(model)).graph.initializer if t.name == "w")
    np.testing.assert_array_equal(w.data.numpy(), onnx.numpy_helper.to_array(stored))
    (tmp_path / "net.data").unlink()
    with pytest.raises(CnnirError, match="Cannot read the weights"):
        load(path)


def test_external_weights_outside_the_folder(model: Any, tmp_path: Path) -> None:
    """A model must not read other files of the machine."""
    (tmp_path / "secret").write_bytes(bytes(432))
    folder = tmp_path / "model"
    folder.mkdir()
    proto = onnx.load_model_from_string(_network(model))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    with pytest.raises(CnnirError, match="Cannot read the weights"):
        load(_file(folder, proto.SerializeToString()))


def test_sparse_weights(model: Any) -> None:
    proto = model([CONV], {"x": IMAGE}, weights={"w": W})
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    assert "Sparse weights are not supported" in _refusal(proto)
