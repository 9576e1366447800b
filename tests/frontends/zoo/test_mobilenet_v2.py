"""MobileNet v2 against torchvision and the authors' table."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.frontends import zoo

# 1.0: torchvision's documentation of its weights; 0.5 and 1.4: timm's mobilenetv2_050 and mobilenetv2_140.
PARAMETERS = {"mobilenet_v2": 3_504_872, "mobilenet_v2_0.5": 1_968_680, "mobilenet_v2_1.4": 6_108_776}

# Millions, from the table of checkpoints that the authors publish with the code (and Keras repeats).
MACS = {
    "mobilenet_v2_1.4": 582,
    "mobilenet_v2_1.3": 509,
    "mobilenet_v2": 300,
    "mobilenet_v2_0.75": 209,
    "mobilenet_v2_0.5": 97,
    "mobilenet_v2_0.35": 59,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str, learnable: Any) -> None:
    assert learnable(zoo.build(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", MACS)
def test_macs(name: str, products: Any) -> None:
    assert products(zoo.build(name)) / 1e6 == pytest.approx(MACS[name], rel=0.006)


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1, 1.3, 1.4])
def test_names_and_shapes(width: float, torchvision: Any, same_names: Any) -> None:
    name = "mobilenet_v2" if width == 1 else f"mobilenet_v2_{width}"
    same_names(zoo.build(name), lambda: torchvision.models.mobilenet_v2(width_mult=width))


@pytest.mark.parametrize(("name", "width", "size"), [("mobilenet_v2", 1.0, 75), ("mobilenet_v2_0.35", 0.35, 64)])
def test_outputs(name: str, width: float, size: int, torchvision: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build(name, input_shape=(3, size, size)), torchvision.models.mobilenet_v2(width_mult=width))


def test_deploys(deploys: Any) -> None:
    deploys("mobilenet_v2_0.35", 48)


@pytest.mark.slow
@pytest.mark.parametrize("name", MACS)
def test_deploys_all(name: str, deploys: Any) -> None:
    deploys(name, 64)
