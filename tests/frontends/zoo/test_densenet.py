"""DenseNet against torchvision."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.analysis import graph_cost
from cnnir.frontends import zoo

# torchvision's documentation of its weights: learnable parameters, GMACs of products; timm's table: all GMACs.
PARAMETERS = {
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}
PRODUCTS = {"densenet121": 2.834, "densenet161": 7.728, "densenet169": 3.36, "densenet201": 4.291}
GMACS = {"densenet121": 2.87, "densenet161": 7.79, "densenet169": 3.4, "densenet201": 4.34}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_macs(name: str, learnable: Any, products: Any) -> None:
    graph = zoo.build(name)
    assert learnable(graph) == PARAMETERS[name]
    assert products(graph) / 1e9 == pytest.approx(PRODUCTS[name], abs=0.0006)
    assert graph_cost(graph).total.macs / 1e9 == pytest.approx(GMACS[name], abs=0.006)


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_and_shapes(name: str, torchvision: Any, same_names: Any) -> None:
    same_names(zoo.build(name), lambda: getattr(torchvision.models, name)())


# 75 pixels: planes of 38, 19, 9, 4 and 2 rows, so that two transitions leave a row out.
def test_outputs(torchvision: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build("densenet121", input_shape=(3, 75, 75)), torchvision.models.densenet121())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet161", "densenet169", "densenet201"])
def test_outputs_of_the_larger(name: str, torchvision: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build(name, input_shape=(3, 75, 75)), getattr(torchvision.models, name)())


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_deploys(name: str, deploys: Any) -> None:
    deploys(name, 64)
