"""`ConvTranspose` and `MaxUnpool` in the forms that ONNX allows, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from cnnir.errors import CnnirError
from cnnir.frontends.onnx import from_model

RNG = np.random.default_rng(9)
IMAGE = ("N", 4, 5, 6)
WEIGHTS = {"w": RNG.standard_normal((4, 3, 4, 3), dtype=np.float32), "b": RNG.standard_normal(3, dtype=np.float32)}

TRANSPOSED: dict[str, dict[str, Any]] = {
    "kernel from the weight": {},
    "pads": {"strides": [2, 3], "pads": [1, 0, 2, 1], "output_padding": [1, 2]},
    "dilated": {"dilations": [2, 3]},
    **{
        f"{mode} stride {stride}": {"auto_pad": mode, "strides": stride}
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for stride in ([1, 1], [2, 3], [3, 2])
    },
    "output shape": {"strides": [2, 2], "output_shape": [9, 12]},
    "output shape, upper": {"strides": [2, 2], "output_shape": [9, 12], "auto_pad": "SAME_UPPER"},
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name: str, model: Any, agrees: Any) -> None:
    node = make_node("ConvTranspose", ["x", "w", "b"], ["y"], **TRANSPOSED[name])
    agrees(model([node], {"x": IMAGE}, weights=WEIGHTS))


def test_groups(model: Any, agrees: Any) -> None:
    agrees(model([make_node("ConvTranspose", ["x", "w"], ["y"], group=2)], {"x": IMAGE}, weights=WEIGHTS))


@pytest.mark.parametrize("shape", [False, True])
def test_max_unpool(shape: bool, model: Any, agrees: Any) -> None:
    pool = make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2])
    inputs = ["p", "i", "s"] if shape else ["p", "i"]
    unpool = make_node("MaxUnpool", inputs, ["y"], kernel_shape=[2, 2], strides=[2, 2])
    weights = {"s": np.array([2, 4, 4, 6], np.int64)} if shape else {}
    size = (2 if shape else "N", 4, 4, 6)
    graph = agrees(model([pool, unpool], {"x": size}, weights=weights, opset=11))
    assert [n.op.name for n in graph.nodes] == ["MaxPoolIndices", "MaxUnpool"]


def test_an_output_shape_that_moves_the_indices_is_refused(model: Any) -> None:
    pool = make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2])
    unpool = make_node("MaxUnpool", ["p", "i", "s"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    proto = model([pool, unpool], {"x": (2, 4, 5, 7)}, weights={"s": np.array([2, 4, 5, 7], np.int64)}, opset=11)
    with pytest.raises(
        CnnirError, match=r"'MaxUnpool' to \[5, 7\] pixels is not supported: its window gives \[4, 6\]"
    ):
        from_model(proto, "test")
