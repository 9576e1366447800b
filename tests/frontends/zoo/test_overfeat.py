"""OverFeat's networks against the paper's figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cnnir.frontends import zoo
from cnnir.ir import Graph

# Table 4 of the paper: millions of parameters and of connections; and the sizes of tables 1 and 3.
PAPER = {"overfeat_fast": (145, 2810), "overfeat_accurate": (144, 5369)}
MAPS = {"overfeat_fast": [56, 24, 12, 12, 12], "overfeat_accurate": [108, 30, 15, 15, 15, 15]}


@pytest.mark.parametrize("name", PAPER)
def test_size(name: str, learnable: Callable[[Graph], int], products: Callable[[Graph], int]) -> None:
    graph = zoo.build(name)
    params, connections = PAPER[name]
    assert learnable(graph) // 10**6 == params
    assert products(graph) / 1e6 == pytest.approx(connections, rel=0.01)
    assert [n.output.type.shape[2] for n in graph.nodes if n.op.name == "Conv"] == MAPS[name]


@pytest.mark.parametrize(("name", "size"), [("overfeat_fast", 71), ("overfeat_accurate", 77)])
def test_deploys(name: str, size: int, deploys: Callable[..., None]) -> None:
    deploys(name, size, hidden=(48, 32), classes=10)
