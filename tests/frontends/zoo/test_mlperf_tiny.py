"""MLPerf Tiny's ResNet-8 against the benchmark's own trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import load, zoo


def test_parameters(learnable: Any) -> None:
    """Keras's summary of the benchmark's model: 78,666 parameters, 480 of them running statistics."""
    graph = zoo.build("resnet8_mlperf_tiny")
    assert sum(v.type.size for v in graph.constants()) == 78_666
    assert learnable(graph) == 78_666 - 480


def test_macs(products: Any) -> None:
    """12.5 million MACs is what papers on the benchmark give."""
    assert products(zoo.build("resnet8_mlperf_tiny")) / 1e6 == pytest.approx(12.5, rel=0.01)


def test_the_trained_model(shared_data: Path, carry_over: Any) -> None:
    trained = load(str(shared_data / "resnet8_mlperftiny_cifar10.onnx"))
    graph = zoo.build("resnet8_mlperf_tiny")
    carry_over(graph, trained)
    image = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32)).astype(np.float32)
    (expected,) = reference.run(trained, {"input": image}).values()
    logits = reference.run(graph, {"input": image})["logits"]
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    np.testing.assert_allclose(softmax, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [32, 35])
def test_deploys(size: int, deploys: Any) -> None:
    deploys("resnet8_mlperf_tiny", size)
