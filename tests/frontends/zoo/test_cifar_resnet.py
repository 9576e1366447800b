"""The CIFAR-10 ResNets against the paper, a well-known PyTorch repository and its trained ResNet-20."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import load, zoo

# With option A. 20: the sum over the state_dict that akamaster/pytorch_resnet_cifar10 publishes. The others add,
# for each block more in a stage of width w, two 3x3 convolutions and normalisations: 2 * (9 w w + 2 w).
PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}

# Table 6 of the paper, millions; the repository's README has the same.
ROUNDED = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}

# Option B adds 1x1 convolutions 16 -> 32 and 32 -> 64 and their normalisations: 512 + 64 + 2048 + 128.
PROJECTIONS = 2752


@pytest.mark.parametrize("depth", PARAMETERS)
def test_parameters(depth: int, learnable: Any) -> None:
    count = learnable(zoo.build(f"resnet{depth}_cifar10"))
    assert count == PARAMETERS[depth]
    assert count / 1e6 == pytest.approx(ROUNDED[depth], rel=0.02)
    assert learnable(zoo.build(f"resnet{depth}_cifar10_b")) == PARAMETERS[depth] + PROJECTIONS


def test_macs(products: Any) -> None:
    """By hand, from section 4.2: the first layer, then 3 stages of 6 layers, of which the first of a stage reads
    the narrower images of the one before, then the classifier."""
    first = 27 * 16 * 32 * 32
    stages = 6 * 9 * 16 * 16 * 32 * 32 + 5.5 * 9 * 32 * 32 * 16 * 16 + 5.5 * 9 * 64 * 64 * 8 * 8
    assert products(zoo.build("resnet20_cifar10")) == first + stages + 64 * 10


@pytest.mark.parametrize("depth", PARAMETERS)
def test_depth_counts_layers_with_weights(depth: int) -> None:
    """6n+2, the paper says, parameter-free shortcuts included."""
    graph = zoo.build(f"resnet{depth}_cifar10")
    assert sum(n.op.name in ("Conv", "Gemm") for n in graph.nodes) == depth


def test_the_trained_resnet20(shared_data: Path) -> None:
    """The repository's names for the parameters, and with its weights its outputs."""
    trained = load(str(shared_data / "resnet20_cifar10.onnx"))
    theirs = {v.name: v for v in trained.constants() if v.type.rank > 0}
    graph = zoo.build("resnet20_cifar10")
    ours = {v.name: v for v in graph.constants()}
    assert {n: v.type.shape for n, v in ours.items()} == {n: theirs[n].type.shape for n in ours}
    for name, value in ours.items():
        value.data = theirs[name].data
    image = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    expected = reference.run(trained, {"input": image})["logits"]
    np.testing.assert_allclose(reference.run(graph, {"input": image})["logits"], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20_cifar10", "resnet20_cifar10_b"])
def test_deploys(name: str, deploys: Any) -> None:
    deploys(name, 18)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [32, 44, 56, 110])
def test_deploys_others(depth: int, deploys: Any) -> None:
    deploys(f"resnet{depth}_cifar10", 16)
    deploys(f"resnet{depth}_cifar10_b", 16)
