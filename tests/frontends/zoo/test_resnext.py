"""ResNeXt against torchvision and timm."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.frontends import zoo

# torchvision's documentation of its weights, but 32x4d of 101 layers: timm's model card.
PARAMETERS = {
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x4d": 44_177_704,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
}

GMACS = {"resnext50_32x4d": 4.23, "resnext101_32x8d": 16.414, "resnext101_64x4d": 15.46}  # torchvision, as above


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str, learnable: Any) -> None:
    assert learnable(zoo.build(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", GMACS)
def test_macs(name: str, products: Any) -> None:
    assert products(zoo.build(name)) / 1e9 == pytest.approx(GMACS[name], rel=1e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_and_shapes(name: str, timm: Any, same_names: Any) -> None:
    same_names(zoo.build(name), lambda: timm.create_model(name))


def test_outputs(timm: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build("resnext50_32x4d", input_shape=(3, 43, 43)), timm.create_model("resnext50_32x4d"))


def test_every_group_is_as_wide_as_the_name_says() -> None:
    for name, groups, width in (
        ("resnext50_32x4d", 32, 4),
        ("resnext101_64x4d", 64, 4),
        ("resnext101_32x8d", 32, 8),
    ):
        (conv,) = [n for n in zoo.build(name).nodes if n.name == "layer1.0.conv2"]
        assert conv.attrs.groups == groups
        assert conv.inputs[1].type.shape == (groups * width, width, 3, 3)


def test_deploys(deploys: Any) -> None:
    """Every kind of block."""
    deploys("resnext50_32x4d", 32, repeats=(2, 1, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"])
def test_deploys_whole(name: str, deploys: Any) -> None:
    deploys(name, 32)
