"""FractalNet against published counts, and against the expansion rule written in another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.ir import Array, Graph

CHANNELS = (64, 128, 256, 512, 512)


def test_parameters(learnable: Any) -> None:
    """imgclsmob's fractalnet_cifar10 and fractalnet_cifar100, and table 1 of the paper: 38.6 million."""
    assert learnable(zoo.build("fractalnet20")) == 33_724_618
    assert learnable(zoo.build("fractalnet20", classes=100)) == 33_770_788
    assert int(learnable(zoo.build("fractalnet20_expand")) / 1e5) == 386


def test_parameters_of_four_columns(learnable: Any) -> None:
    """Each block has 15 convolutions, 4 of which read its input, each with 2 elements a channel to normalise."""
    pairs = zip((3, *CHANNELS), CHANNELS, strict=False)
    blocks = sum(9 * (4 * i * o + 11 * o * o) + 15 * 2 * o for i, o in pairs)
    assert learnable(zoo.build("fractalnet40")) == blocks + 513 * 10


@pytest.mark.parametrize(("name", "columns"), [("fractalnet20", 3), ("fractalnet40", 4)])
def test_macs(name: str, columns: int) -> None:
    """Products by hand: halved planes of 32 rows, `2 ** columns - 1` convolutions a block."""
    expected = 512 * 10
    for rows, i, o in zip((32, 16, 8, 4, 2), (3, *CHANNELS), CHANNELS, strict=False):
        expected += 9 * rows**2 * (columns * i * o + (2**columns - 1 - columns) * o * o)
    nodes = graph_cost(zoo.build(name)).nodes
    assert sum(n.macs for n in nodes if n.op in ("Conv", "Gemm")) == expected


def depth(graph: Graph) -> int:
    """Convolutions on the longest way."""
    longest: dict[object, int] = {}
    for node in graph.nodes:
        before = max((longest.get(v, 0) for v in node.inputs if v is not None), default=0)
        longest[node.output] = before + (node.op.name == "Conv")
    return max(longest.values())


def test_depth() -> None:
    """Section 4: B blocks of C columns are B * 2 ** (C - 1) convolutions deep."""
    assert depth(zoo.build("fractalnet20")) == 20
    assert depth(zoo.build("fractalnet40")) == 40
    assert depth(zoo.build("fractalnet20", columns=1)) == 5


def test_joins_are_means_of_all_columns_that_end_there() -> None:
    """The block of figure 1 with four columns, run row by row: column k works at every `2 ** (4 - k)`-th row."""
    graph = zoo.build("fractalnet40", channels=(5,), dropout=(0.0,), input_shape=(3, 2, 2))
    arrays = {v.name: v.data.numpy().astype(float) for v in graph.constants() if v.data is not None}
    image = np.random.default_rng(0).standard_normal((2, 3, 2, 2))

    def conv(x: Array, name: str) -> Array:
        weight = arrays[f"block1.{name}.conv.weight"]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.maximum(np.einsum("ncyxij,ocij->noyx", windows, weight) / np.sqrt(1 + 1e-5), 0)

    # The order in which the rule names convolutions: the shallow column first, then both halves.
    def names(first: int, columns: int, start: int) -> dict[tuple[int, int], str]:
        found = {(columns, start): f"conv{first}"}
        if columns > 1:
            half = 2 ** (columns - 2)
            found |= names(first + 1, columns - 1, start)
            found |= names(first + 2 ** (columns - 1), columns - 1, start + half)
        return found

    places = names(1, 4, 0)
    assert len(places) == 15
    # A convolution beside a fractal of `columns` columns leads from row start to start + 2 ** (columns - 1).
    rows: list[Array] = [image]
    for row in range(1, 9):
        ends = [
            conv(rows[start], name)
            for (columns, start), name in places.items()
            if start + 2 ** (columns - 1) == row
        ]
        rows.append(np.mean(ends, axis=0))
    pooled = rows[8].max(axis=(2, 3))
    expected = pooled @ arrays["output.weight"].T + arrays["output.bias"]
    got = reference.run(graph, {"input": image})["logits"]
    assert got.std() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_drop_path_is_the_identity_at_inference() -> None:
    ops = {n.op.name for n in zoo.build("fractalnet20").nodes}
    assert ops == {"Conv", "BatchNormalization", "Relu", "Dropout", "Add", "Div", "MaxPool", "Flatten", "Gemm"}


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("fractalnet20", 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fractalnet20_expand", "fractalnet40"])
def test_the_others_deploy(name: str, deploys: Any) -> None:
    deploys(name, 32)
