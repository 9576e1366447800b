"""Network in Network against the authors' own models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.ir import Graph

# Filters and kernels of the prototxt files that the authors published for Caffe.
IMAGENET = (
    96 * (3 * 121 + 1) + 2 * 96 * 97
    + 256 * (96 * 25 + 1) + 2 * 256 * 257
    + 384 * (256 * 9 + 1) + 2 * 384 * 385
    + 1024 * (384 * 9 + 1) + 1024 * 1025 + 1000 * 1025
)  # fmt: skip
CIFAR10 = (
    192 * (3 * 25 + 1) + 160 * 193 + 96 * 161
    + 192 * (96 * 25 + 1) + 2 * 192 * 193
    + 192 * (192 * 9 + 1) + 192 * 193 + 10 * 193
)  # fmt: skip


def test_size(learnable: Callable[[Graph], int], products: Callable[[Graph], int]) -> None:
    imagenet = zoo.build("nin_imagenet")
    assert learnable(imagenet) == IMAGENET == 7_595_176
    # The authors' description: a snapshot of 29 MB (of 2^20 bytes).
    assert round(4 * learnable(imagenet) / 2**20) == 29
    assert learnable(zoo.build("nin_cifar10")) == CIFAR10 == 966_986


def test_maps() -> None:
    def sizes(name: str) -> list[int]:
        nodes = zoo.build(name).nodes
        return [n.output.type.shape[2] for n in nodes if n.op.name in ("MaxPool", "AveragePool")]

    # Caffe rounds the sizes of poolings up.
    assert sizes("nin_imagenet") == [27, 13, 6]
    assert sizes("nin_cifar10") == [16, 8]


def test_any_image_size() -> None:
    graph = zoo.build("nin_cifar10", input_shape=(3, 45, 37))
    image = np.random.default_rng(0).standard_normal((1, 3, 45, 37)).astype(np.float32)
    assert reference.run(graph, {"input": image})["logits"].shape == (1, 10)


@pytest.mark.parametrize(("name", "size"), [("nin_imagenet", 67), ("nin_cifar10", 32)])
def test_deploys(name: str, size: int, deploys: Callable[..., None]) -> None:
    deploys(name, size, classes=10)
