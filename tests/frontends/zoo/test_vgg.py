"""VGG nets against torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cnnir.errors import UnknownNameError
from cnnir.frontends import zoo
from cnnir.ir import Graph

# torchvision's table of weights (IMAGENET1K_V1): parameters, and GMACs of convolutions and dense layers.
TORCHVISION = {
    "vgg11": (132_863_336, 7.609),
    "vgg11_bn": (132_868_840, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg13_bn": (133_053_736, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg16_bn": (138_365_992, 15.470),
    "vgg19": (143_667_240, 19.632),
    "vgg19_bn": (143_678_248, 19.632),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_size(name: str, learnable: Callable[[Graph], int], products: Callable[[Graph], int]) -> None:
    params, gmacs = TORCHVISION[name]
    graph = zoo.build(name)
    assert learnable(graph) == params
    assert products(graph) / 1e9 == pytest.approx(gmacs, abs=0.001)


@pytest.mark.parametrize("name", TORCHVISION)
def test_names(name: str, torchvision: Any, same_names: Callable[..., None]) -> None:
    same_names(zoo.build(name), lambda: getattr(torchvision.models, name)(weights=None))


# 96 and 64 pixels end as 3x3 and 2x2 maps, of which torchvision's adaptive pooling makes 7x7 by repetition.
@pytest.mark.parametrize(("name", "size"), [("vgg11_bn", 96), ("vgg16", 64)])
def test_outputs(name: str, size: int, torchvision: Any, same_outputs: Callable[..., None]) -> None:
    import torch

    depth, norm = {"vgg11_bn": ("A", True), "vgg16": ("D", False)}[name]
    make = torchvision.models.vgg
    with torch.device("meta"):
        module = make.VGG(torch.nn.Identity(), init_weights=False)
    module.features = make.make_layers(make.cfgs[depth], norm)
    for index, (inputs, outputs) in {0: (512 * 49, 32), 3: (32, 32), 6: (32, 10)}.items():
        module.classifier[index] = torch.nn.Linear(inputs, outputs)
    same_outputs(zoo.build(name, input_shape=(3, size, size), hidden=32, classes=10), module)


def test_deploys(deploys: Callable[..., None]) -> None:
    deploys("vgg11_bn", 32, hidden=32, classes=10)


def test_depths_that_the_paper_has_not() -> None:
    with pytest.raises(UnknownNameError, match="Unknown VGG '12'"):
        zoo.build("vgg11", depth=12)
