"""Each importable ONNX operator in each of the forms its opsets allow, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from cnnir.backends import reference
from cnnir.errors import CnnirError
from cnnir.frontends.onnx import CONSTANTS_ONLY, SUPPORTED, from_model
from cnnir.ir import BATCH

RNG = np.random.default_rng(7)


def _w(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _i(*values: int) -> Any:
    return np.array(values, np.int64)


IMAGE = ("N", 4, 9, 8)
CONV_WEIGHTS = {"w": _w(6, 4, 3, 3), "b": _w(6)}
F32 = np.float32

# name: nodes, input shape, weights, opset
CASES: dict[str, tuple[list[Any], tuple[Any, ...], dict[str, Any], int]] = {
    "conv, kernel from the weight": ([make_node("Conv", ["x", "w", "b"], ["y"])], IMAGE, CONV_WEIGHTS, 13),
    **{
        f"conv {mode} stride {stride}": (
            [make_node("Conv", ["x", "w"], ["y"], auto_pad=mode, strides=stride)],
            IMAGE,
            {"w": _w(3, 4, 4, 3)},
            11,
        )
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for stride in ([1, 1], [2, 3])
    },
    "conv, groups": (
        [make_node("Conv", ["x", "w"], ["y"], group=2, pads=[0, 1, 2, 3])],
        IMAGE,
        {"w": _w(6, 2, 3, 3)},
        7,
    ),
    **{
        f"{pool} {name}": ([make_node(pool, ["x"], ["y"], kernel_shape=[3, 3], **attributes)], IMAGE, {}, opset)
        for pool in ("MaxPool", "AveragePool")
        for name, attributes, opset in (
            ("strided", {"strides": [2, 2], "pads": [1, 0, 1, 1]}, 7),
            ("same upper", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, 11),
            ("same lower", {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, 11),
            ("valid", {"strides": [2, 1], "auto_pad": "VALID"}, 11),
            ("ceil", {"strides": [2, 2], "ceil_mode": 1}, 13),
            ("ceil, padded", {"strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}, 19),
            ("dilated", {"dilations": [2, 2]}, 19),
        )
    },
    "average pool, padding counted": (
        [make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 2], pads=[1, 1, 1, 0], count_include_pad=1)],
        IMAGE,
        {},
        11,
    ),
    "global pools": (
        [
            make_node("GlobalAveragePool", ["x"], ["a"]),
            make_node("GlobalMaxPool", ["x"], ["m"]),
            make_node("Concat", ["a", "m"], ["y"], axis=-3),
        ],
        IMAGE,
        {},
        13,
    ),
    "batch normalisation": (
        [make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3)],
        IMAGE,
        {"s": _w(4), "b": _w(4), "m": _w(4), "v": np.abs(_w(4)) + F32(0.5)},
        15,
    ),
    "LRN": ([make_node("LRN", ["x"], ["y"], size=3, alpha=0.5, beta=0.6, bias=1.5)], IMAGE, {}, 13),
    "layer normalisation": (
        [
            make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
            make_node("LayerNormalization", ["t", "s", "b"], ["y"], axis=-1, epsilon=1e-6),
        ],
        IMAGE,
        {"s": _w(4), "b": _w(4)},
        17,
    ),
    "clip by attributes": ([make_node("Clip", ["x"], ["y"], min=-0.5, max=1.0)], IMAGE, {}, 10),
    "clip by inputs": ([make_node("Clip", ["x", "l", "h"], ["y"])], IMAGE, {"l": F32(-1), "h": F32(0.5)}, 13),
    "clip without lower bound": ([make_node("Clip", ["x", "", "h"], ["y"])], IMAGE, {"h": F32(0.5)}, 13),
    "clip without bounds": ([make_node("Clip", ["x"], ["y"])], IMAGE, {}, 12),
    "clip by constant nodes": (
        [
            make_node("Constant", [], ["l"], value_float=0.0),
            make_node("Constant", [], ["h6"], value=onnx.numpy_helper.from_array(np.float32([6]))),
            make_node("Squeeze", ["h6"], ["h"]),
            make_node("Clip", ["x", "l", "h"], ["y"]),
        ],
        IMAGE,
        {},
        13,
    ),
    **{
        name: ([make_node(name, ["x"], ["y"], **attributes)], IMAGE, {}, opset)
        for name, attributes, opset in (
            ("Relu", {}, 14),
            ("Sigmoid", {}, 13),
            ("Tanh", {}, 13),
            ("Exp", {}, 13),
            ("Neg", {}, 13),
            ("Abs", {}, 13),
            ("Elu", {"alpha": 0.7}, 13),
            ("LeakyRelu", {"alpha": 0.3}, 16),
            ("HardSigmoid", {}, 13),
            ("HardSwish", {}, 14),
            ("Gelu", {}, 20),
            ("Identity", {}, 13),
        )
    },
    "Sqrt": ([make_node("Abs", ["x"], ["a"]), make_node("Sqrt", ["a"], ["y"])], IMAGE, {}, 13),
    "PRelu a channel": ([make_node("PRelu", ["x", "s"], ["y"])], IMAGE, {"s": _w(4, 1, 1)}, 16),
    "variadic": (
        [
            make_node("Sum", ["x", "c", "x"], ["s"]),
            make_node("Mean", ["s", "x", "c"], ["m"]),
            make_node("Max", ["m", "x", "c"], ["h"]),
            make_node("Min", ["h", "s"], ["l"]),
            make_node("Sum", ["l"], ["y"]),
        ],
        IMAGE,
        {"c": _w(4, 1, 1)},
        13,
    ),
    "arithmetic": (
        [
            make_node("Add", ["x", "c"], ["a"]),
            make_node("Mul", ["a", "a"], ["m"]),
            make_node("Sub", ["c", "m"], ["s"]),
            make_node("Div", ["s", "d"], ["q"]),
            make_node("Pow", ["q", "two"], ["y"]),
        ],
        IMAGE,
        {"c": _w(4, 1, 1), "d": F32(2.5), "two": np.int64(2)},
        13,
    ),
    "gemm": ([make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], ("N", 5), {"w": _w(3, 5), "b": _w(3)}, 13),
    "gemm, factors": (
        [make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=3.0)],
        ("N", 5),
        {"w": _w(5, 3), "b": _w(1, 3)},
        13,
    ),
    "gemm, scalar bias": ([make_node("Gemm", ["x", "w", "b"], ["y"])], ("N", 5), {"w": _w(5, 3), "b": F32(2)}, 13),
    "gemm without bias": ([make_node("Gemm", ["x", "w"], ["y"])], ("N", 5), {"w": _w(5, 3)}, 13),
    "gemm, bias of every row": (
        [make_node("Gemm", ["x", "w", "b"], ["y"])],
        (2, 5),
        {"w": _w(5, 3), "b": _w(2, 1)},
        13,
    ),
    "gemm, both transposed": (
        [make_node("Gemm", ["x", "w", "b"], ["y"], transA=1, transB=1)],
        (5, 2),
        {"w": _w(3, 5), "b": _w(3)},
        13,
    ),
    "matmul": ([make_node("MatMul", ["x", "w"], ["y"])], ("N", 5), {"w": _w(5, 3)}, 13),
    "matmul, channels last": ([make_node("MatMul", ["x", "w"], ["y"])], ("N", 3, 4, 5), {"w": _w(5, 3)}, 13),
    "flatten": ([make_node("Flatten", ["x"], ["y"])], IMAGE, {}, 13),
    "reshape, batch left open": ([make_node("Reshape", ["x", "s"], ["y"])], IMAGE, {"s": _i(-1, 288)}, 13),
    "reshape, batch copied": ([make_node("Reshape", ["x", "s"], ["y"])], IMAGE, {"s": _i(0, 2, -1, 8)}, 13),
    "reshape, fixed": ([make_node("Reshape", ["x", "s"], ["y"])], (2, 3, 4), {"s": _i(-1, 2)}, 13),
    "squeeze old": (
        [make_node("GlobalMaxPool", ["x"], ["p"]), make_node("Squeeze", ["p"], ["y"], axes=[-1, 2])],
        IMAGE,
        {},
        11,
    ),
    "squeeze and unsqueeze": (
        [
            make_node("GlobalMaxPool", ["x"], ["p"]),
            make_node("Squeeze", ["p", "a"], ["q"]),
            make_node("Unsqueeze", ["q", "b"], ["y"]),
        ],
        IMAGE,
        {"a": _i(2, 3), "b": _i(-1)},
        13,
    ),
    "unsqueeze old": ([make_node("Unsqueeze", ["x"], ["y"], axes=[1])], ("N", 3), {}, 11),
    "transpose": ([make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])], IMAGE, {}, 13),
    "transpose, reversed": ([make_node("Transpose", ["x"], ["y"])], (2, 3, 4), {}, 13),
    "pad by attributes": (
        [make_node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 3, 0], value=1.5)],
        IMAGE,
        {},
        10,
    ),
    "pad by inputs": (
        [make_node("Pad", ["x", "p", "v"], ["y"])],
        IMAGE,
        {"p": _i(0, 1, 0, 2, 0, 0, 3, 0), "v": F32(-1)},
        13,
    ),
    "pad some axes": (
        [make_node("Pad", ["x", "p", "", "a"], ["y"])],
        IMAGE,
        {"p": _i(1, 2, 3, 4), "a": _i(-1, 2)},
        18,
    ),
    "pad and crop": ([make_node("Pad", ["x", "p"], ["y"])], IMAGE, {"p": _i(0, 0, -1, 2, 0, 0, 3, -2)}, 13),
    "crop": ([make_node("Pad", ["x", "p"], ["y"])], IMAGE, {"p": _i(0, 0, -1, -2, 0, 0, 0, -2)}, 13),
    "slice by attributes": (
        [make_node("Slice", ["x"], ["y"], starts=[0, 1, -4], ends=[2**31 - 1, 7, -1], axes=[0, 2, 3])],
        IMAGE,
        {},
        9,
    ),
    "slice by inputs": (
        [make_node("Slice", ["x", "s", "e", "a", "t"], ["y"])],
        IMAGE,
        {"s": _i(-1, 0), "e": _i(-(2**63), 2**63 - 1), "a": _i(2, 3), "t": _i(-2, 3)},
        13,
    ),
    "slice of everything": (
        [make_node("Slice", ["x", "s", "e"], ["y"])],
        IMAGE,
        {"s": _i(0), "e": _i(2**63 - 1)},
        13,
    ),
    "split": (
        [make_node("Split", ["x"], ["a", "b"], axis=1), make_node("Add", ["b", "a"], ["y"])],
        IMAGE,
        {},
        13,
    ),
    "split by sizes": (
        [make_node("Split", ["x", "s"], ["a", "b"], axis=-2), make_node("Concat", ["b", "a"], ["y"], axis=2)],
        IMAGE,
        {"s": _i(2, 7)},
        13,
    ),
    "split old": (
        [
            make_node("Split", ["x"], ["a", "b"], axis=1, split=[1, 3]),
            make_node("Concat", ["b", "a"], ["y"], axis=1),
        ],
        IMAGE,
        {},
        11,
    ),
    "gather one": ([make_node("Gather", ["x", "i"], ["y"], axis=2)], IMAGE, {"i": np.int64(-1)}, 13),
    "gather one, kept": ([make_node("Gather", ["x", "i"], ["y"], axis=1)], IMAGE, {"i": _i(2)}, 13),
    "reduce mean": ([make_node("ReduceMean", ["x"], ["y"], axes=[-1, 2], keepdims=0)], IMAGE, {}, 13),
    "reduce mean by input": ([make_node("ReduceMean", ["x", "a"], ["y"])], IMAGE, {"a": _i(3, 2)}, 18),
    "reduce all": ([make_node("ReduceMax", ["x"], ["y"])], (2, 3), {}, 13),
    "reduce nothing": ([make_node("ReduceSum", ["x"], ["y"], noop_with_empty_axes=1)], IMAGE, {}, 13),
    "reduce sum": ([make_node("ReduceSum", ["x", "a"], ["y"], keepdims=0)], IMAGE, {"a": _i(1)}, 13),
    "softmax": ([make_node("Softmax", ["x"], ["y"], axis=1)], IMAGE, {}, 13),
    "softmax, last axis": ([make_node("Softmax", ["x"], ["y"])], IMAGE, {}, 13),
    "softmax old, over all axes": ([make_node("Softmax", ["x"], ["y"])], IMAGE, {}, 11),
    "softmax old, from axis 2": ([make_node("Softmax", ["x"], ["y"], axis=2)], IMAGE, {}, 9),
    "softmax old, of vectors": ([make_node("Softmax", ["x"], ["y"])], ("N", 10), {}, 7),
    "dropout old": ([make_node("Dropout", ["x"], ["y", "mask"], ratio=0.2)], IMAGE, {}, 10),
    "dropout": (
        [make_node("Dropout", ["x", "r", "t"], ["y"])],
        IMAGE,
        {"r": F32(0.2), "t": np.array(False)},
        13,
    ),
    "cast to the same": ([make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT)], IMAGE, {}, 13),
    "cast of a constant": (
        [make_node("Cast", ["c"], ["f"], to=onnx.TensorProto.FLOAT), make_node("Mul", ["x", "f"], ["y"])],
        IMAGE,
        {"c": _i(3)},
        13,
    ),
    "quantise": (
        [
            make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        IMAGE,
        {"s": F32(0.0371), "z": np.int8(5)},
        13,
    ),
    "quantised weights": (
        [
            make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
            make_node("Conv", ["x", "w"], ["y"]),
        ],
        IMAGE,
        {"q": RNG.integers(-127, 128, (5, 4, 3, 3), dtype=np.int8), "s": np.abs(_w(5)), "z": np.zeros(5, np.int8)},
        13,
    ),
    "flatten through shapes": (
        [
            make_node("Shape", ["x"], ["shape"]),
            make_node("Gather", ["shape", "zero"], ["n"]),
            make_node("Unsqueeze", ["n", "axes"], ["n1"]),
            make_node("Constant", [], ["open"], value_ints=[-1]),
            make_node("Concat", ["n1", "open"], ["target"], axis=0),
            make_node("Reshape", ["x", "target"], ["y"]),
        ],
        IMAGE,
        {"zero": np.int64(0), "axes": _i(0)},
        13,
    ),
    "channel shuffle through shapes": (
        [
            make_node("Shape", ["x"], ["shape"]),
            make_node("Gather", ["shape", "i0"], ["n"]),
            make_node("Slice", ["shape", "i1", "i2"], ["c"]),
            make_node("Slice", ["shape", "i2", "i4"], ["hw"]),
            make_node("Div", ["c", "i2"], ["half"]),
            make_node("Concat", ["n", "i2", "half", "hw"], ["split"], axis=0),
            make_node("Reshape", ["x", "split"], ["s"]),
            make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1, 3, 4]),
            make_node("Concat", ["n", "c", "hw"], ["joined"], axis=0),
            make_node("Reshape", ["t", "joined"], ["y"]),
        ],
        IMAGE,
        {"i0": _i(0), "i1": _i(1), "i2": _i(2), "i4": _i(4)},
        13,
    ),
    "sizes multiplied": (
        [
            make_node("Shape", ["x"], ["shape"], start=1),
            make_node("ReduceProd", ["shape"], ["rest"], keepdims=1),
            make_node("Size", ["x"], ["all"]),
            make_node("Div", ["all", "rest"], ["n"]),
            make_node("Concat", ["n", "rest"], ["target"], axis=0),
            make_node("Reshape", ["x", "target"], ["y"]),
        ],
        IMAGE,
        {},
        15,
    ),
    "weights computed from constants": (
        [
            make_node("Transpose", ["a"], ["t"], perm=[1, 0]),
            make_node("Mul", ["t", "b"], ["m"]),
            make_node("Expand", ["row", "shape"], ["e"]),
            make_node("Add", ["m", "e"], ["w"]),
            make_node("Gemm", ["x", "w"], ["y"]),
        ],
        ("N", 5),
        {"a": _w(3, 5), "b": _w(5, 1), "row": _w(1, 3), "shape": _i(5, 3)},
        13,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, model: Any, agrees: Any) -> None:
    nodes, shape, weights, opset = CASES[name]
    agrees(model(nodes, {"x": shape}, weights=weights, opset=opset))


def test_every_operator_is_tried() -> None:
    tried = {node.op_type for nodes, _, _, _ in CASES.values() for node in nodes}
    # `Swish` is newer than what ONNX Runtime executes; the others have a file of their own.
    assert set(SUPPORTED) - tried == {"Swish", "ConvTranspose", "MaxUnpool"}
    assert {"Shape", "Size", "Constant", "Expand", "ReduceProd"} <= set(CONSTANTS_ONLY) & tried


def test_same_padding_of_a_dilated_convolution(model: Any) -> None:
    """ONNX Runtime does not execute it; PyTorch's `padding="same"` is the same rule at stride 1."""
    torch = pytest.importorskip("torch")
    x, w = _w(2, 4, 9, 8), _w(3, 4, 3, 3)
    node = make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", dilations=[2, 3])
    graph = from_model(model([node], {"x": IMAGE}, weights={"w": w}), "test")
    expected = torch.nn.functional.conv2d(
        *(torch.from_numpy(a.astype(np.float64)) for a in (x, w)), padding="same", dilation=(2, 3)
    )
    np.testing.assert_allclose(reference.run(graph, {"x": x})["y"], expected.numpy(), rtol=1e-10, atol=1e-12)


GELU = {"root": F32(np.sqrt(2)), "reciprocal": F32(1 / np.sqrt(2)), "one": F32(1), "half": F32(0.5)}
GELU_FORMS = {
    "halved last": [
        make_node("Div", ["x", "root"], ["d"]),
        make_node("Erf", ["d"], ["e"], name="gelu"),
        make_node("Add", ["e", "one"], ["a"]),
        make_node("Mul", ["x", "a"], ["m"]),
        make_node("Mul", ["m", "half"], ["y"]),
    ],
    "halved first": [
        make_node("Mul", ["reciprocal", "x"], ["d"]),
        make_node("Erf", ["d"], ["e"], name="gelu"),
        make_node("Add", ["one", "e"], ["a"]),
        make_node("Mul", ["half", "x"], ["h"]),
        make_node("Mul", ["h", "a"], ["y"]),
    ],
    "halved between": [
        make_node("Div", ["x", "root"], ["d"]),
        make_node("Erf", ["d"], ["e"], name="gelu"),
        make_node("Add", ["e", "one"], ["a"]),
        make_node("Mul", ["half", "a"], ["m"]),
        make_node("Mul", ["m", "x"], ["y"]),
    ],
}


@pytest.mark.parametrize("form", GELU_FORMS)
def test_gelu_spelt_out(form: str, model: Any, agrees: Any) -> None:
    graph = agrees(model(GELU_FORMS[form], {"x": IMAGE}, weights=GELU, opset=13))
    assert [(n.op.name, n.name) for n in graph.nodes] == [("Gelu", "gelu")]


@pytest.mark.parametrize("form", GELU_FORMS)
@pytest.mark.parametrize("change", [{"half": F32(0.49)}, {"one": F32(2)}, {"root": F32(2), "reciprocal": F32(2)}])
def test_what_only_looks_like_gelu_is_not_joined(form: str, change: Any, model: Any) -> None:
    with pytest.raises(CnnirError, match="'Erf'"):
        from_model(model(GELU_FORMS[form], {"x": IMAGE}, weights={**GELU, **change}), "test")


@pytest.mark.parametrize("inner", ["d", "e", "a", "m"])
def test_gelu_with_an_inner_tensor_read_elsewhere_is_not_joined(inner: str, model: Any) -> None:
    with pytest.raises(CnnirError, match="'Erf'"):
        from_model(model(GELU_FORMS["halved last"], {"x": IMAGE}, ("y", inner), GELU), "test")


def test_matmul_and_add_are_one_layer(model: Any, agrees: Any) -> None:
    nodes = [make_node("MatMul", ["x", "w"], ["p"], name="fc"), make_node("Add", ["b", "p"], ["y"], name="bias")]
    graph = agrees(model(nodes, {"x": ("N", 5)}, weights={"w": _w(5, 3), "b": _w(3)}))
    (node,) = graph.nodes
    assert (node.op.name, node.name, node.origins) == ("Gemm", "fc", ("fc", "bias"))


def test_matmul_read_twice_keeps_its_addition(model: Any, agrees: Any) -> None:
    nodes = [make_node("MatMul", ["x", "w"], ["p"]), make_node("Add", ["p", "b"], ["y"])]
    graph = agrees(model(nodes, {"x": ("N", 5)}, outputs=("y", "p"), weights={"w": _w(5, 3), "b": _w(3)}))
    assert [n.op.name for n in graph.nodes] == ["Gemm", "Add"]


def test_shape_chain_leaves_one_reshape(model: Any, agrees: Any) -> None:
    nodes, shape, weights, opset = CASES["flatten through shapes"]
    graph = agrees(model(nodes, {"x": shape}, weights=weights, opset=opset))
    assert [str(n.op) for n in graph.nodes] == ["Reshape"]
    assert graph.outputs["y"].type.shape == (BATCH, 288)


def test_weight_shared_by_two_nodes_is_one_constant(model: Any, agrees: Any) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        make_node("Conv", ["a", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    graph = agrees(model(nodes, {"x": IMAGE}, weights={"w": _w(4, 4, 3, 3)}))
    assert [v.name for v in graph.constants()] == ["w"]


def test_fixed_batch_is_kept(model: Any, agrees: Any) -> None:
    graph = agrees(model([make_node("Relu", ["x"], ["y"])], {"x": (3, 2)}))
    assert graph.inputs[0].type.shape == (3, 2)


def test_names_are_kept_and_made_unique(model: Any) -> None:
    nodes = [
        make_node("Relu", ["x"], ["a"], name="act"),
        make_node("Relu", ["a"], ["b"], name="act"),
        make_node("Relu", ["b"], ["c"]),
        make_node("Neg", ["c"], ["y"], name="x"),
    ]
    graph = from_model(model(nodes, {"x": (1, 2)}), "test")
    assert [n.name for n in graph.nodes] == ["act", "act_1", "c", "x_1"]
    assert graph.inputs[0].name == "x" and list(graph.outputs) == ["y"]
    assert str(graph.nodes[0].loc) == "test: node 'act'"


def test_nodes_that_no_output_needs_are_left_out(model: Any, agrees: Any) -> None:
    nodes = [make_node("Relu", ["x"], ["y"]), make_node("Sin", ["x"], ["unused"])]
    assert len(agrees(model(nodes, {"x": (1, 2)})).nodes) == 1


def test_output_that_is_an_input_or_a_weight(model: Any, agrees: Any) -> None:
    nodes = [make_node("Relu", ["x"], ["y"]), make_node("Identity", ["c"], ["k"])]
    graph = agrees(model(nodes, {"x": (1, 2)}, outputs=("y", "k"), weights={"c": _w(3)}))
    assert graph.outputs["k"].is_constant


def test_weights_that_old_files_list_as_inputs(model: Any) -> None:
    """Before IR version 4 every initializer was an input too."""
    proto = model([make_node("Mul", ["x", "w"], ["y"])], {"x": (1, 2), "w": (1, 2)}, weights={"w": _w(1, 2)})
    assert [v.name for v in from_model(proto, "old").inputs] == ["x"]


def test_functions_of_the_model_are_expanded(agrees: Any) -> None:
    helper = onnx.helper
    body = [make_node("Sigmoid", ["a"], ["s"]), make_node("Mul", ["a", "s"], ["b"])]
    function = helper.make_function("local", "Silu", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    info = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 3]) for n in ("x", "y")]
    graph = helper.make_graph([make_node("Silu", ["x"], ["y"], domain="local")], "g", info[:1], info[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    imported = agrees(helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8))
    assert [n.op.name for n in imported.nodes] == ["Sigmoid", "Mul"]
