"""Every network of the plain convolutional families comes back from its text form."""

from __future__ import annotations

import pytest

from cnnir.frontends import zoo
from cnnir.ir.parser import parse_graph
from cnnir.ir.text import print_graph, tensors_of

FAMILIES = {"ciresan", "lenet", "alexnet", "zfnet", "overfeat", "vgg", "nin", "constrained-time", "caffenet"}
NAMES = [m.name for m in zoo.models() if m.family in FAMILIES]


def test_the_families_are_there() -> None:
    assert {m.family for m in zoo.models()} >= FAMILIES
    assert len(NAMES) >= 54


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    """No element of a weight is drawn: the tensors are handed over as they are."""
    graph = zoo.build(name)
    graph.verify()
    again = parse_graph(print_graph(graph), tensors_of(graph))
    again.verify()
    assert print_graph(again) == print_graph(graph)
    assert [v.data for v in again.constants()] == [v.data for v in graph.constants()]
