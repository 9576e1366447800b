"""The inference pipeline on whole networks: what is left of them, how long it takes, what they compute."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends.reference import run
from cnnir.frontends.source import load
from cnnir.passes.instruments import CostDeltas
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline


def test_resnet152_is_rewritten_and_verified_within_two_seconds() -> None:
    graph = load("resnet152").graph
    start = time.perf_counter()
    records = PassManager(parse_pipeline("inference")).run(graph)
    assert time.perf_counter() - start < 2
    # He et al. 2016, table 1: 151 convolutions (3 * (3 + 8 + 36 + 3) + 1) and 4 on the shortcuts, one dense layer.
    assert Counter(node.op.name for node in graph.nodes) == {
        "Conv": 155,
        "MaxPool": 1,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    convs = [node for node in graph.nodes if node.op.name == "Conv"]
    # Each of the 50 blocks adds its residual in a convolution. Biases are there although they are zero.
    assert sum(node.inputs[3] is not None for node in convs) == 50
    assert all(node.inputs[2] is not None for node in convs)
    assert not [remark for record in records for remark in record.declined]


def test_folding_takes_the_arithmetic_of_normalisation_away() -> None:
    graph = load("resnet18").graph
    costs = CostDeltas()
    PassManager(parse_pipeline("inference"), [costs]).run(graph)
    # A channel had scale and bias, and keeps a bias: 4,800 channels in 20 convolutions (torchvision counts 9,600
    # parameters in normalisation).
    assert [(d.name, d.params) for d in costs.deltas] == [("fold-batch-norm", -4800), ("fuse-epilogue", 0)]


@pytest.mark.parametrize("name", ["resnet8_mlperftiny_cifar10", "resnet20_cifar10"])
def test_imported_networks_agree_with_onnx_runtime_after_the_pipeline(shared_data: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = shared_data / f"{name}.onnx"
    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    graph = load(str(path)).graph
    PassManager(parse_pipeline("inference")).run(graph)
    assert not any(node.op.name in ("BatchNormalization", "Relu") for node in graph.nodes)
    (feed,) = graph.inputs
    theirs = session.get_inputs()[0]
    x = np.random.default_rng(0).normal(0, 1, feed.type.with_batch(1).shape).astype(np.float32)
    (expected,) = session.run(None, {theirs.name: x})
    (got,) = run(graph, {feed.name: x}).values()
    # Float32 against float64 over some twenty layers of at most 576 products each.
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
