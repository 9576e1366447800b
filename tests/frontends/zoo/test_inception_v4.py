"""Inception-v4 against timm."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.analysis import graph_cost
from cnnir.frontends import zoo


def test_parameters(learnable: Any) -> None:
    """imgclsmob's table of models; timm's says 42.68 million."""
    assert learnable(zoo.build("inception_v4")) == 42_679_816


def test_macs() -> None:
    """timm's table of results."""
    assert graph_cost(zoo.build("inception_v4")).total.macs / 1e9 == pytest.approx(12.28, abs=0.006)


def test_names_and_shapes(timm: Any, same_names: Any) -> None:
    same_names(zoo.build("inception_v4"), lambda: timm.create_model("inception_v4"))


# 80 pixels: planes of 37, 18, 16, 7, 3 and 1 rows; of the 16 one is left out.
def test_outputs(timm: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build("inception_v4", input_shape=(3, 80, 80)), timm.create_model("inception_v4"))


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("inception_v4", 75)
