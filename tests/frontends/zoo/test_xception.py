"""Xception against timm and Keras."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.analysis import graph_cost
from cnnir.frontends import zoo


def test_parameters(learnable: Any) -> None:
    """Keras prints 22,910,480 parameters: 22,855,952 trainable ones and the statistics of the normalisations."""
    graph = zoo.build("xception")
    assert learnable(graph) == 22_855_952
    assert sum(v.type.size for v in graph.constants()) == 22_910_480


def test_macs() -> None:
    """timm's table of results."""
    assert graph_cost(zoo.build("xception")).total.macs / 1e9 == pytest.approx(8.4, abs=0.006)


def test_names_and_shapes(timm: Any, same_names: Any) -> None:
    same_names(zoo.build("xception"), lambda: timm.create_model("legacy_xception"))


# 75 pixels: the poolings make planes of 18, 9, 5 and 3 rows of 35.
def test_outputs(timm: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build("xception", input_shape=(3, 75, 75)), timm.create_model("legacy_xception"))


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("xception", 75)
