"""EfficientNet-Lite against timm, Google's table and the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import reference
from cnnir.frontends import load, zoo
from cnnir.frontends.zoo.efficientnet_lite import efficientnet_lite

# timm's table of results gives them in millions with two decimals; its models count exactly these.
PARAMETERS = (4_652_008, 5_416_680, 6_092_072, 8_197_096, 13_006_568)

# Millions: README of the authors' code (tensorflow/tpu, models/official/efficientnet/lite).
MULTIPLY_ADDS = (407, 631, 899, 1440, 2640)

INPUTS = (224, 240, 260, 280, 300)


@pytest.mark.parametrize("prefix", ["tf_", ""])
@pytest.mark.parametrize("i", range(5))
def test_parameters(i: int, prefix: str, learnable: Any) -> None:
    assert learnable(zoo.build(f"{prefix}efficientnet_lite{i}")) == PARAMETERS[i]


@pytest.mark.parametrize("i", range(5))
def test_macs(i: int) -> None:
    """The authors' counter adds three for every element that is normalised, where ours adds two."""
    graph = zoo.build(f"tf_efficientnet_lite{i}")
    assert graph.inputs[0].type.shape[2] == INPUTS[i]
    by_op = {op: sum(n.macs for n in graph_cost(graph).nodes if n.op == op) for op in ("Conv", "Gemm")}
    normalised = sum(n.output.type.with_batch(1).size for n in graph.nodes if n.op.name == "BatchNormalization")
    assert (sum(by_op.values()) + 3 * normalised) / 1e6 == pytest.approx(MULTIPLY_ADDS[i], rel=0.005)


@pytest.mark.parametrize("i", range(5))
def test_names_and_shapes(i: int, timm: Any, same_names: Any) -> None:
    name = f"tf_efficientnet_lite{i}"
    same_names(zoo.build(name), lambda: timm.create_model(name))


# 43 pixels: strides meet planes of 43, 22, 11, 6 and 3 rows, so "same" pads now evenly and now not.
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "efficientnet_lite0"])
def test_outputs(name: str, timm: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build(name, input_shape=(3, 43, 43)), timm.create_model(name))


def test_googles_trained_model(shared_data: Path, carry_over: Any) -> None:
    trained = load(str(shared_data / "efficientnet_lite0.onnx"))
    graph = zoo.build("tf_efficientnet_lite0")
    carry_over(graph, trained)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    expected = reference.run(trained, {"input": image})["logits"]
    np.testing.assert_allclose(reference.run(graph, {"input": image})["logits"], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("tf_efficientnet_lite0", 43)


@pytest.mark.slow
@pytest.mark.parametrize("name", efficientnet_lite.variants)
def test_deploys_all(name: str, deploys: Any) -> None:
    deploys(name, 64)
