"""Every pass, and every prefix of the pipeline, on random networks: same function, valid graph, idempotent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnir.ir import Graph
from cnnir.ir.text import print_graph
from cnnir.passes.base import EXACT, Pass
from cnnir.passes.manager import Instrument, PassManager, PassRecord
from cnnir.passes.pipeline import parse_pipeline
from cnnir.passes.registry import passes

SLOW_TO_DRAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
NAMES = [p.name for p in passes() if p.contract == EXACT]
COMPUTES_NOTHING = ["canonicalize", "cse", "dce", "fold-pad", "remove-identity"]


class SameFunction(Instrument):
    """Compares the outputs after each pass with those before the first: every prefix of the pipeline."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab

    def start(self, graph: Graph, passes: Any) -> None:
        self.outputs = self.lab.outputs(graph)

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        if record.changed:
            self.lab.compare(self.outputs, self.lab.outputs(graph), 1e-9)


@pytest.mark.parametrize("name", NAMES)
@settings(SLOW_TO_DRAW, max_examples=40)
@given(data=st.data())
def test_a_pass_keeps_the_function_reports_honestly_and_finds_nothing_twice(
    lab: Any, networks: st.SearchStrategy[Graph], name: str, data: st.DataObject
) -> None:
    graph = data.draw(networks)
    text, constants = print_graph(graph), {id(v.data) for v in graph.constants()}
    pipeline = parse_pipeline(name)
    (record,) = PassManager(pipeline, [SameFunction(lab)]).run(graph)
    assert record.changed == (print_graph(graph) != text)
    if name in COMPUTES_NOTHING:
        assert {id(v.data) for v in graph.constants()} <= constants
    (again,) = PassManager(pipeline).run(graph)
    assert not again.changed, again.rewrote
    assert again.declined == record.declined


@settings(SLOW_TO_DRAW, max_examples=120)
@given(data=st.data())
def test_every_prefix_of_the_inference_pipeline_keeps_the_function(
    lab: Any, networks: st.SearchStrategy[Graph], data: st.DataObject
) -> None:
    graph = data.draw(networks)
    pipeline = parse_pipeline("inference")
    PassManager(pipeline, [SameFunction(lab)]).run(graph)
    assert not any(r.changed for r in PassManager(pipeline).run(graph))
