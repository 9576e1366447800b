"""Inception-ResNet-v2 against timm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.analysis import graph_cost
from cnnir.frontends import zoo


def test_parameters(learnable: Any) -> None:
    """imgclsmob's table of models; timm's says 55.84 million."""
    assert learnable(zoo.build("inception_resnet_v2")) == 55_843_464


def test_macs() -> None:
    """timm's table of results."""
    assert graph_cost(zoo.build("inception_resnet_v2")).total.macs / 1e9 == pytest.approx(13.18, abs=0.006)


def test_names_and_shapes(timm: Any, same_names: Any) -> None:
    same_names(zoo.build("inception_resnet_v2"), lambda: timm.create_model("inception_resnet_v2"))


def test_residuals_are_scaled_as_in_the_published_weights() -> None:
    factors = [
        float(value.data.numpy())
        for node in zoo.build("inception_resnet_v2").nodes
        if node.op.name == "Mul"
        for value in node.inputs
        if value is not None and value.data is not None
    ]
    assert factors == pytest.approx([0.17] * 10 + [0.1] * 20 + [0.2] * 9)


# 80 pixels: planes of 37, 18, 16, 7, 3 and 1 rows; of the 16 one is left out.
def test_outputs(timm: Any, same_outputs: Any) -> None:
    module = timm.create_model("inception_resnet_v2", num_classes=10)
    for part in module.modules():
        if hasattr(part, "scale"):
            part.scale = float(np.float32(part.scale))  # our literals are float32
    same_outputs(zoo.build("inception_resnet_v2", input_shape=(3, 80, 80), classes=10), module)


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("inception_resnet_v2", 75)
