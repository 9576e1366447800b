"""ZF-Net against the paper's figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cnnir.frontends import zoo
from cnnir.ir import Graph


def test_size(learnable: Callable[[Graph], int], products: Callable[[Graph], int]) -> None:
    graph = zoo.build("zfnet")
    # Layer by layer from figure 3: convolutions, then dense layers, each with its biases.
    layers = (
        96 * (3 * 49 + 1), 256 * (96 * 25 + 1), 384 * (256 * 9 + 1), 384 * (384 * 9 + 1), 256 * (384 * 9 + 1),
        4096 * (9216 + 1), 4096 * (4096 + 1), 1000 * (4096 + 1),
    )  # fmt: skip
    assert learnable(graph) == sum(layers) == 62_357_608
    # Maps of 110, 26 and 13 pixels.
    assert products(graph) == (
        110**2 * 96 * 147 + 26**2 * 256 * 2400 + 169 * (384 * 2304 + 384 * 3456 + 256 * 3456) + 58_621_952
    )


def test_the_maps_of_figure_3() -> None:
    sizes = [n.output.type.shape[2] for n in zoo.build("zfnet").nodes if n.op.name in ("Conv", "MaxPool")]
    assert sizes == [110, 55, 26, 13, 13, 13, 13, 6]


def test_deploys(deploys: Callable[..., None]) -> None:
    deploys("zfnet", 64, hidden=32, classes=10)


@pytest.mark.parametrize("size", [64, 97, 225])
def test_other_sizes(size: int) -> None:
    zoo.build("zfnet", input_shape=(3, size, size), classes=10).verify()
