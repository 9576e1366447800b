"""MobileNet v1 against the paper's tables, timm, and Google's trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import load, zoo
from cnnir.frontends.zoo.mobilenet_v1 import mobilenet_v1
from cnnir.ir import ArrayData
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline

# Keras's `MobileNet(alpha=...)`, trainable parameters; timm's mobilenetv1_100 has as many as alpha 1.0.
PARAMETERS = {
    "mobilenet_v1": 4_231_976,
    "mobilenet_v1_0.75": 2_585_560,
    "mobilenet_v1_0.5": 1_331_592,
    "mobilenet_v1_0.25": 470_072,
    "mobilenetv1_100": 4_231_976,
    "mobilenetv1_125": 6_270_840,
}

# Tables 6 and 7 of the paper, in millions.
MACS = {
    "mobilenet_v1": 569,
    "mobilenet_v1_0.75": 325,
    "mobilenet_v1_0.5": 149,
    "mobilenet_v1_0.25": 41,
    "mobilenet_v1_192": 418,
    "mobilenet_v1_160": 290,
    "mobilenet_v1_128": 186,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str, learnable: Any) -> None:
    assert learnable(zoo.build(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", MACS)
def test_macs(name: str, products: Any) -> None:
    assert products(zoo.build(name)) / 1e6 == pytest.approx(MACS[name], rel=0.005)


def test_sixteen_variants_and_timms_two() -> None:
    shapes = {m.name: m.input_shape for m in mobilenet_v1.models()}
    assert len(shapes) == 18
    assert shapes["mobilenet_v1_0.5_160"] == (3, 160, 160)


@pytest.mark.parametrize("name", ["mobilenetv1_100", "mobilenetv1_125"])
def test_names_and_shapes(name: str, timm: Any, same_names: Any) -> None:
    same_names(zoo.build(name), lambda: timm.create_model(name))


# Planes of odd and even size reach the strides.
@pytest.mark.parametrize("size", [64, 75])
def test_outputs(size: int, timm: Any, same_outputs: Any) -> None:
    same_outputs(zoo.build("mobilenetv1_100", input_shape=(3, size, size)), timm.create_model("mobilenetv1_100"))


def test_googles_trained_model(shared_data: Path) -> None:
    """Its convolutions (1001 classes, normalisations folded) in this network give its very outputs."""
    trained = load(str(shared_data / "mobilenet_v1.onnx"))
    graph = zoo.build("mobilenet_v1", classes=1001)
    PassManager(parse_pipeline("inference")).run(graph)
    theirs = [n for n in trained.nodes if n.op.name == "Conv"]
    ours = [n for n in graph.nodes if n.op.name in ("Conv", "Gemm")]
    assert len(ours) == len(theirs) == 28
    for mine, other in zip(ours, theirs, strict=True):
        for value, source in zip(mine.inputs[1:3], other.inputs[1:3], strict=True):
            assert value is not None and source is not None and source.data is not None
            # Their classifier is a 1x1 convolution.
            value.data = ArrayData(source.data.numpy().reshape(value.type.shape))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    (expected,) = reference.run(trained, {"input": image}).values()
    logits = reference.run(graph, {"input": image})["logits"]
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert expected.max() > 0.01
    np.testing.assert_allclose(softmax, expected, rtol=1e-9, atol=1e-12)


def test_deploys(deploys: Any) -> None:
    deploys("mobilenet_v1_0.25", 64)


def test_deploys_with_symmetric_padding(deploys: Any) -> None:
    deploys("mobilenetv1_100", 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", mobilenet_v1.variants)
def test_deploys_all(name: str, deploys: Any) -> None:
    deploys(name, 64)
