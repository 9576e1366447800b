"""SegNet against published figures, and against the same network written for PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cnnir.frontends import zoo

# Input channels and filters of every convolution: VGG-16's, and the mirror image of them.
ENCODER = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
DECODER = ((64, 64), (128, 128, 64), (256, 256, 256, 128), (512, 512, 512, 256), (512, 512, 512, 512))


def test_parameters_and_products(learnable: Any, products: Any) -> None:
    graph = zoo.build("segnet")
    assert learnable(graph) == sum(
        9 * a * b + b + 2 * b for chain in (*ENCODER, *DECODER) for a, b in itertools.pairwise(chain)
    ) + (9 * 64 * 11 + 11)
    # ENet's paper (arXiv 1606.02147), tables 2 and 3, at 640x360: 29.46 million parameters, 286.03 GFLOPs.
    large = zoo.build("segnet", input_shape=(3, 360, 640), classes=20)
    assert learnable(large) / 1e6 == pytest.approx(29.46, rel=1e-3)
    assert 2 * products(large) / 1e9 == pytest.approx(286.03, rel=0.01)


def test_every_unpooling_has_the_indices_of_its_pooling() -> None:
    graph = zoo.build("segnet")
    pools = [n for n in graph.nodes if n.op.name == "MaxPoolIndices"]
    unpools = [n for n in graph.nodes if n.op.name == "MaxUnpool"]
    assert [n.inputs[1] for n in unpools] == [n.outputs[1] for n in reversed(pools)]
    assert [n.outputs[0].type.shape[2:] for n in pools] == [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]
    assert graph.outputs["logits"].type.shape[1:] == (11, 360, 480)


def module(classes: int) -> Any:
    nn = pytest.importorskip("torch").nn
    import torch

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            for side, chains in (("encoder", ENCODER), ("decoder", DECODER)):
                for i, chain in enumerate(chains, 1):
                    layers: list[Any] = []
                    for a, b in itertools.pairwise(chain):
                        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
                    if side == "decoder" and i == 1:
                        layers.append(nn.Conv2d(64, classes, 3, padding=1))
                    setattr(self, f"{side}{i}", nn.Sequential(*layers))

        def forward(self, x: Any) -> Any:
            found = []
            for i in range(1, 6):
                x = getattr(self, f"encoder{i}")(x)
                size = x.shape[2:]
                x, places = nn.functional.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
                found.append((places, size))
            for i in range(5, 0, -1):
                places, size = found[i - 1]
                x = getattr(self, f"decoder{i}")(nn.functional.max_unpool2d(x, places, 2, output_size=size))
            return x

    torch.manual_seed(0)
    return Net()


# 44 x 52 pixels: 22x26, 11x13, 6x7, 3x4, 2x2, rounded up three times in rows and twice in columns.
@pytest.mark.slow
def test_outputs_are_those_of_pytorch(same_outputs: Any) -> None:
    same_outputs(zoo.build("segnet", input_shape=(3, 44, 52), classes=4), module(4))


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("segnet", 44, classes=4)
