"""GoogLeNet against torchvision, against the paper's table, and against Caffe's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.frontends.weights import load_weights
from cnnir.ir import Graph

# torchvision's documentation of its weights, and with auxiliary heads (2048 inputs to fc1; 512 and 528 to conv)
# the sum over the 224x224 network's layers. Caffe's bvlc_googlenet has 6,998,552 parameters when deployed.
INFERENCE = {"googlenet": 6_624_904, "googlenet_2014": 6_998_552}
HEADS = {
    "googlenet": sum(128 * c + 2 * 128 + 2049 * 1024 + 1025 * 1000 for c in (512, 528)),
    "googlenet_2014": sum(128 * (c + 1) + 2049 * 1024 + 1025 * 1000 for c in (512, 528)),
}


@pytest.mark.parametrize("name", INFERENCE)
def test_parameters(name: str, learnable: Any) -> None:
    assert learnable(zoo.build(name)) == INFERENCE[name]
    assert learnable(zoo.build(name, training=True)) == INFERENCE[name] + HEADS[name]


def test_macs(products: Any) -> None:
    """torchvision's documentation of its weights."""
    assert products(zoo.build("googlenet")) / 1e9 == pytest.approx(1.498, abs=0.001)


# Table 1 of the paper, column "ops" in millions. (5a is missing: the table's 54 do not follow from its filters.)
MODULES = {"3a": 128, "3b": 304, "4a": 73, "4b": 88, "4c": 100, "4d": 119, "4e": 170, "5b": 71}


def test_macs_of_the_paper() -> None:
    counted = dict.fromkeys(MODULES, 0)
    for node in graph_cost(zoo.build("googlenet_2014")).nodes:
        module = node.name.partition(".")[0].removeprefix("inception_")
        if module in counted and node.op == "Conv":
            counted[module] += node.macs
    assert {m: n / 1e6 for m, n in counted.items()} == pytest.approx(MODULES, rel=0.01)


@pytest.mark.parametrize("name", INFERENCE)
def test_auxiliary_heads_are_there_in_training_only(name: str) -> None:
    assert list(zoo.build(name).outputs) == ["logits"]
    training = zoo.build(name, training=True)
    assert {n: v.type.shape for n, v in training.outputs.items()} == {
        "logits": (-1, 1000),
        "aux2": (-1, 1000),
        "aux1": (-1, 1000),
    }


def test_names_and_shapes(torchvision: Any, same_names: Any) -> None:
    def make(aux: bool) -> Any:
        return torchvision.models.googlenet(aux_logits=aux, init_weights=False)

    same_names(zoo.build("googlenet"), lambda: make(False))
    same_names(zoo.build("googlenet", training=True), lambda: make(True))


# 75 pixels: planes of 38, 19 (rounded down: 18), 9, 4 and 2 rows.
def test_outputs(torchvision: Any, same_outputs: Any) -> None:
    module = torchvision.models.googlenet(aux_logits=False, init_weights=False)
    same_outputs(zoo.build("googlenet", input_shape=(3, 75, 75)), module)


def test_outputs_of_the_auxiliary_heads(torchvision: Any, tmp_path: Path) -> None:
    """At 96 pixels the heads' poolings make 4x4 means of planes of 6x6, whose windows overlap."""
    import torch

    module = torchvision.models.googlenet(aux_logits=True, init_weights=False, num_classes=10).eval().double()
    state = {k: v.float() for k, v in module.state_dict().items()}
    module.load_state_dict(state)
    torch.save(state, tmp_path / "weights.pth")
    graph = zoo.build("googlenet", training=True, input_shape=(3, 96, 96), classes=10)
    load_weights(graph, tmp_path / "weights.pth")
    image = np.random.default_rng(2).standard_normal((2, 3, 96, 96)).astype(np.float32)
    got = reference.run(graph, {"input": image})
    module.training = True  # of the whole only: its normalisations and dropouts stay as in inference
    with torch.no_grad():
        expected = module(torch.from_numpy(image).double())
    for name, value in zip(("logits", "aux2", "aux1"), expected, strict=True):
        np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-9, atol=1e-9 * float(value.abs().max()))


def test_the_paper_against_the_caffe_model(light_model: Callable[..., Graph], carry_over: Any) -> None:
    """Caffe's poolings round up (planes of 112, 56, 28 and 14 rows get one more at the end, the last of 7 none);
    the conversion to ONNX had lost that."""

    def restore(node: onnx.NodeProto) -> None:
        attributes = {a.name: a.ints for a in node.attribute}
        if node.op_type == "MaxPool" and attributes["strides"] == [2, 2]:
            attributes["pads"][:] = [0, 0, 1, 1]
        if node.op_type == "AveragePool":
            attributes["pads"][:] = [0, 0, 0, 0]

    graph = zoo.build("googlenet_2014")
    caffe = light_model("inception_v1", restore)
    carry_over(caffe, graph)
    image = np.random.default_rng(0).uniform(-100, 100, (1, 3, 224, 224)).astype(np.float32)
    logits = reference.run(graph, {"input": image})["logits"]
    odds = np.exp(logits - logits.max())
    (probabilities,) = reference.run(caffe, {caffe.inputs[0].name: image}).values()
    assert probabilities.std() > 1e-5
    np.testing.assert_allclose(odds / odds.sum(), probabilities, rtol=1e-9, atol=1e-15)


@pytest.mark.slow
def test_the_paper_deploys(deploys: Any) -> None:
    deploys("googlenet_2014", 75)


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("googlenet", 75)
