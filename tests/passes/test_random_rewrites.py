"""Rewrites of the architecture on random networks: valid graphs, honest reports, the function where promised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnir.ir import Graph
from cnnir.ir.text import print_graph
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline

KEEP = [
    "delay-pooling{form=exact}",
    "factorize-conv{amount=1 grow=true}",
    "insert-bottleneck{amount=1 grow=true}",
    "separable-conv{terms=9 grow=true}",
    "merge-linear-convs{grow=true}",
]
CHANGE = [
    "resnet-d",
    "delay-pooling",
    "factorize-conv{form=stack grow=true}",
    "factorize-conv{between=relu}",
    "insert-bottleneck{by=macs amount=0.7}",
    "separable-conv",
]


@pytest.mark.parametrize("pipeline", [*KEEP, *CHANGE])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_rewrite_leaves_a_valid_network(
    lab: Any, networks: st.SearchStrategy[Graph], pipeline: str, data: st.DataObject
) -> None:
    graph = data.draw(networks)
    text, before = print_graph(graph), lab.outputs(graph)
    records = PassManager(parse_pipeline(pipeline)).run(graph)  # verifies the graph, and names and types of outputs
    assert any(r.changed for r in records) == (print_graph(graph) != text)
    after = lab.outputs(graph)
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    if pipeline in KEEP:
        lab.compare(before, after, 1e-8)
