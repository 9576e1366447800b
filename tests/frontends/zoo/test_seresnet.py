"""SE-ResNet against timm."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.frontends import zoo

# timm's model cards and table of results.
PARAMETERS = {"seresnet50": 28_088_024, "seresnet101": 49_326_872, "seresnet152": 66_821_848}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str, learnable: Any) -> None:
    assert learnable(zoo.build(name)) == PARAMETERS[name]


def test_macs(products: Any) -> None:
    """timm's model card: 4.1 GMACs at 224x224."""
    assert products(zoo.build("seresnet50")) / 1e9 == pytest.approx(4.1, rel=0.01)


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_and_shapes(name: str, timm: Any, same_names: Any) -> None:
    same_names(zoo.build(name), lambda: timm.create_model(name))


def test_outputs(timm: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build("seresnet50", input_shape=(3, 43, 43)), timm.create_model("seresnet50"))


def test_deploys(deploys: Any) -> None:
    """Every kind of block."""
    deploys("seresnet50", 32, repeats=(2, 1, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seresnet50", "seresnet101", "seresnet152"])
def test_deploys_whole(name: str, deploys: Any) -> None:
    deploys(name, 32)
