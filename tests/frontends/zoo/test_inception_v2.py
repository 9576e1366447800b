"""BN-Inception against Caffe2's model of it, and against published counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.ir import ArrayData, Graph


def test_parameters_and_macs(learnable: Any) -> None:
    """imgclsmob's table of models: BN-Inception, converted from Cadene's weights."""
    graph = zoo.build("bn_inception")
    assert learnable(graph) == 11_295_240
    assert graph_cost(graph).total.macs / 1e6 == pytest.approx(2048.06, rel=0.005)


def test_parameters_of_the_paper(learnable: Any) -> None:
    """The convolutions', normalisations' and the dense layer's elements in Caffe2's model (see below)."""
    assert learnable(zoo.build("inception_v2")) == 11_194_984


# Shapes in Cadene's bninception.py, where the module names end.
CADENE = {
    "conv1_7x7_s2.weight": (64, 3, 7, 7),
    "conv2_3x3_reduce_bn.running_var": (64,),
    "inception_3c_double_3x3_2.weight": (96, 96, 3, 3),
    "inception_4c_pool_proj.weight": (128, 576, 1, 1),
    "inception_4d_1x1.weight": (96, 608, 1, 1),
    "inception_4e_double_3x3_2_bn.bias": (256,),
    "inception_5a_3x3_reduce.weight": (192, 1056, 1, 1),
    "inception_5b_pool_proj.bias": (128,),
    "last_linear.weight": (1000, 1024),
}


def test_names_and_shapes() -> None:
    shapes = {v.name: v.type.shape for v in zoo.build("bn_inception").constants()}
    assert {name: shapes.get(name) for name in CADENE} == CADENE
    assert len(shapes) == 69 * (2 + 4) + 2


def test_the_paper_against_the_caffe2_model(light_model: Callable[..., Graph], carry_over: Any) -> None:
    """Caffe's means count the padding, which the conversion to ONNX had lost."""

    def restore(node: onnx.NodeProto) -> None:
        if node.op_type == "AveragePool":
            node.attribute.append(onnx.helper.make_attribute("count_include_pad", 1))

    graph = zoo.build("inception_v2")
    caffe = light_model("inception_v2", restore)
    carry_over(caffe, graph)
    # Scale and offset are layers of their own there; ours are the normalisations'.
    for node in caffe.nodes:
        if node.op.name in ("Mul", "Add"):
            for value in node.inputs:
                if value is not None and value.is_constant:
                    value.data = ArrayData(np.full(value.type.shape, float(node.op.name == "Mul"), np.float32))
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    logits = reference.run(graph, {"input": image})["logits"]
    odds = np.exp(logits - logits.max())
    (probabilities,) = reference.run(caffe, {caffe.inputs[0].name: image}).values()
    assert probabilities.std() > 1e-5
    np.testing.assert_allclose(odds / odds.sum(), probabilities, rtol=1e-9, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_v2", "bn_inception"])
def test_deploys(name: str, deploys: Any) -> None:
    deploys(name, 96)  # both ways of halving a plane agree where it has an even number of rows
