"""The one-shot network of Koch et al.: shared weights, a symmetric distance, the whole way to compiled code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.backends import onnx as onnx_backend
from cnnir.backends import reference
from cnnir.compiler import compile_source
from cnnir.errors import CnnirError
from cnnir.frontends import zoo
from cnnir.frontends.source import load
from cnnir.frontends.zoo.siamese import siamese_oneshot
from cnnir.ir import Graph
from cnnir.ir.text import load_graph, print_graph, save_graph

# Figure 4: 64@10x10, 128@7x7, 128@4x4, 256@4x4, 4096 units of 256@6x6, one unit of 4096 distances; with biases.
PARAMETERS = {
    "tower.0": 64 * 10 * 10 + 64,
    "tower.3": 128 * 64 * 7 * 7 + 128,
    "tower.6": 128 * 128 * 4 * 4 + 128,
    "tower.9": 256 * 128 * 4 * 4 + 256,
    "tower.12": 4096 * 256 * 6 * 6 + 4096,
    "head": 4096 + 1,
}


def test_parameters_are_shared_by_the_towers(learnable: Any) -> None:
    graph = zoo.build("siamese_oneshot")
    counted = dict.fromkeys(PARAMETERS, 0)
    for value in graph.parameters():
        counted[value.name.rpartition(".")[0]] += value.type.size
    assert counted == PARAMETERS
    # The sum is what the usual implementations in Keras print for this network.
    assert learnable(graph) == 38_951_745
    assert all(len(v.uses) == 2 for v in graph.parameters() if v.name.startswith("tower"))


def test_planes_are_those_of_the_figure() -> None:
    graph = zoo.build("siamese_oneshot")
    sizes = [n.output.type.shape[1:] for n in graph.nodes if n.op.name in ("Conv", "MaxPool")]
    figure = [(64, 96, 96), (64, 48, 48), (128, 42, 42), (128, 21, 21), (128, 18, 18), (128, 9, 9), (256, 6, 6)]
    assert sizes == 2 * figure


def small() -> Graph:
    return siamese_oneshot.build(features=64)


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 1, 105, 105)).astype(np.float32)


def test_it_is_symmetric() -> None:
    graph, a, b = small(), images(0), images(1)
    one = reference.run(graph, {"first": a, "second": b})["probability"]
    other = reference.run(graph, {"first": b, "second": a})["probability"]
    same = reference.run(graph, {"first": a, "second": a})["probability"]
    np.testing.assert_allclose(one, other, rtol=1e-12)
    assert np.abs(one - same).min() > 1e-6
    bias = next(v for v in graph.parameters() if v.name == "head.bias").data
    assert bias is not None
    np.testing.assert_allclose(same, 1 / (1 + np.exp(-np.float64(bias.numpy()[0]))), rtol=1e-12)


def test_deploys(tmp_path: Path) -> None:
    source = load("siamese_oneshot", options={"features": 64})
    graph, feeds = source.graph, {"first": images(3), "second": images(4)}
    expected = reference.run(graph, feeds)["probability"]
    save_graph(graph, tmp_path / "net.cnnir")
    assert print_graph(load_graph(tmp_path / "net.cnnir")) == print_graph(graph)
    np.testing.assert_allclose(onnx_backend.run(graph, feeds)["probability"], expected, rtol=1e-5)
    deviation = compile_source(source, tmp_path / "net.cnnmod").deviation
    assert deviation is not None
    assert deviation.passed


def test_a_tower_needs_images_of_one_size() -> None:
    with pytest.raises(CnnirError, match=r"siamese.py:\d+.*shared"):
        zoo.build("siamese_oneshot", input_shape=(1, 121, 121))
