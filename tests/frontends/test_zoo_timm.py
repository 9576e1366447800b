"""Built-in architectures with the weights of timm's and torchvision's models give those models' outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.frontends.weights import load_weights
from cnnir.ir import Graph

torch = pytest.importorskip("torch")


def randomise(module: Any) -> Any:
    """Batch normalisations that do something: at their initial statistics any mistake in them would cancel."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.uniform_(-0.5, 0.5, generator=generator)
            part.running_mean.uniform_(-0.5, 0.5, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval().double()


def agree(graph: Graph, module: Any, size: int, tmp_path: Path) -> None:
    """All names equal, and outputs equal to a float64 rounding error for the very same float32 weights."""
    state = {k: v.float() for k, v in module.state_dict().items()}
    module.load_state_dict(state)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    load_weights(graph, path)
    expected_names = {k for k in state if not k.endswith("num_batches_tracked")}
    assert {v.name for v in graph.constants()} == expected_names
    image = np.random.default_rng(2).standard_normal((2, 3, size, size)).astype(np.float32)
    got = reference.run(graph, {"input": image})["logits"]
    with torch.no_grad():
        expected = module(torch.from_numpy(image).double()).numpy()
    assert expected.std() > 1e-3
    # About 2000 terms a sum and 150 layers in double precision: far below 1e-9 of the largest output.
    assert np.abs(got - expected).max() <= 1e-9 * np.abs(expected).max()


# At 75 pixels planes of odd size (19, 5) reach the strides, so that ceil mode and the counting of padding show.
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("resnet18d", 75),
        ("resnet50", 64),
        ("resnet50c", 64),
        ("resnet50d", 64),
        ("resnet50d", 75),
    ],
)
def test_resnet(name: str, size: int, timm: Any, tmp_path: Path) -> None:
    module = randomise(timm.create_model(name, pretrained=False))
    agree(zoo.build(name, input_shape=(3, size, size)), module, size, tmp_path)


@pytest.mark.parametrize("name", ["resnet34", "resnet34d", "resnet101", "resnet101d", "resnet152", "resnet152d"])
def test_names_and_shapes(name: str, timm: Any) -> None:
    with torch.device("meta"):
        module = timm.create_model(name, pretrained=False)
    expected = {k: tuple(v.shape) for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {v.name: v.type.shape for v in zoo.build(name).constants()} == expected


def test_alexnet(torchvision: Any, tmp_path: Path) -> None:
    # 224, because torchvision's adaptive pooling repeats pixels of images that end smaller than 6x6.
    module = torchvision.models.alexnet(weights=None).eval().double()
    agree(zoo.build("alexnet"), module, 224, tmp_path)
