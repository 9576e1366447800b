"""Inception-v3 against torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.frontends.dsl import trace
from cnnir.frontends.weights import load_weights
from cnnir.frontends.zoo.inception_v3 import auxiliary

# With the auxiliary head: torchvision's documentation of its weights. Without: Keras's and timm's 23.83 million,
# exactly what is left when the head's 3,326,696 go (128 * 768 + 2 * 128, 768 * 128 * 25 + 2 * 768, 769 * 1000).
TRAINING, INFERENCE = 27_161_264, 23_834_568


def test_parameters(learnable: Any) -> None:
    assert learnable(zoo.build("inception_v3")) == INFERENCE
    assert learnable(zoo.build("inception_v3", training=True)) == TRAINING
    head = (128 * 768 + 2 * 128) + (768 * 128 * 25 + 2 * 768) + 769 * 1000
    assert head == TRAINING - INFERENCE


def test_macs(products: Any) -> None:
    """5.713 are torchvision's documentation, 5.73 timm's table of results."""
    graph = zoo.build("inception_v3")
    assert products(graph) / 1e9 == pytest.approx(5.713, abs=0.001)
    assert graph_cost(graph).total.macs / 1e9 == pytest.approx(5.73, abs=0.006)


def test_the_auxiliary_head_is_there_in_training_only() -> None:
    assert list(zoo.build("inception_v3").outputs) == ["logits"]
    training = zoo.build("inception_v3", training=True)
    assert list(training.outputs) == ["logits", "aux"]
    assert training.outputs["aux"].type.shape == (-1, 1000)
    first = next(n for n in training.nodes if n.name == "AuxLogits.avgpool1")
    source = first.inputs[0]
    assert source is not None
    assert source.type.shape == (-1, 768, 17, 17)
    assert source.name.startswith("Mixed_6e.")


def test_names_and_shapes(torchvision: Any, same_names: Any) -> None:
    def make(aux: bool) -> Any:
        return torchvision.models.inception_v3(aux_logits=aux, init_weights=False)

    same_names(zoo.build("inception_v3"), lambda: make(False))
    same_names(zoo.build("inception_v3", training=True), lambda: make(True))


# 96 pixels: planes of 45, 22, 20, 9, 4 and 1 rows; of the 20 and of the 4 one is left out.
@pytest.mark.parametrize("transform_input", [False, True])
def test_outputs(transform_input: bool, torchvision: Any, same_outputs: Any) -> None:
    module = torchvision.models.inception_v3(
        aux_logits=False, init_weights=False, num_classes=10, transform_input=transform_input
    )
    graph = zoo.build("inception_v3", input_shape=(3, 96, 96), classes=10, transform_input=transform_input)
    same_outputs(graph, module)


def test_output_of_the_auxiliary_head(torchvision: Any, tmp_path: Path) -> None:
    import torch

    module = torchvision.models.inception.InceptionAux(768, 10).eval().double()
    state = {f"head.{k}": v.float() for k, v in module.state_dict().items()}
    torch.save(state, tmp_path / "head.pth")
    module.load_state_dict({k.removeprefix("head."): v for k, v in state.items()})
    graph = trace(lambda x: x >> auxiliary(10).named("head"), {"input": (768, 17, 17)}, name="head")
    load_weights(graph, tmp_path / "head.pth")
    x = np.random.default_rng(0).standard_normal((2, 768, 17, 17)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(reference.run(graph, {"input": x})["logits"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("inception_v3", 75)
