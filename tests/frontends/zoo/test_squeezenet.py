"""SqueezeNet against torchvision, and against the trained Caffe model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import load, zoo

# torchvision's documentation of its weights.
PARAMETERS = {"squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496}
GMACS = {"squeezenet1_0": 0.819, "squeezenet1_1": 0.349}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_macs(name: str, learnable: Any, products: Any) -> None:
    graph = zoo.build(name)
    assert learnable(graph) == PARAMETERS[name]
    assert products(graph) / 1e9 == pytest.approx(GMACS[name], rel=1e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_and_shapes(name: str, torchvision: Any, same_names: Any) -> None:
    same_names(zoo.build(name), lambda: getattr(torchvision.models, name)())


# 66 pixels: poolings of planes of 30, 14 and 6 rows (1.0) or 32, 15 and 7 (1.1), some of which must round up.
@pytest.mark.parametrize("name", PARAMETERS)
def test_outputs(name: str, torchvision: Any, same_outputs: Any) -> None:
    module = getattr(torchvision.models, name)(num_classes=10)
    same_outputs(zoo.build(name, input_shape=(3, 66, 66), classes=10), module)


def test_poolings_round_up() -> None:
    """Rounded down, 224 pixels would end as 12x12: 224 -> 109 -> 54 -> 27 (26) -> 13 (12)."""
    graph = zoo.build("squeezenet1_0")
    sizes = [n.output.type.shape[2:] for n in graph.nodes if n.op.name == "MaxPool"]
    assert sizes == [(54, 54), (27, 27), (13, 13)]


def test_the_caffe_model(shared_data: Path, carry_over: Any) -> None:
    """Its 227x227 pixels, its padding of the last convolution and its poolings give its very outputs."""
    trained = load(str(shared_data / "squeezenet1_0_dc.onnx"))
    graph = zoo.build("squeezenet1_0", input_shape=(3, 227, 227), head_padding=1)
    carry_over(graph, trained)
    image = np.random.default_rng(0).uniform(-100, 100, (1, 3, 227, 227)).astype(np.float32)
    expected = reference.run(trained.clone(), {"input": image})["logits"]
    np.testing.assert_allclose(reference.run(graph, {"input": image})["logits"], expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_deploys(name: str, deploys: Any) -> None:
    deploys(name, 66)
