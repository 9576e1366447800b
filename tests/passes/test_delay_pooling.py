"""`delay-pooling`: the exact form on every kind of pool, the paper's form on the paper's networks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cnnir.errors import CnnirError
from cnnir.frontends.source import load
from cnnir.ir import Graph
from cnnir.ir.equality import difference
from cnnir.passes.base import EXACT, RETRAIN
from cnnir.passes.delay_pooling import DelayPooling, Form
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import format_pipeline, parse_pipeline


def bare(graph: Graph, weights: Graph) -> Graph:
    """Under one name, without places in the source, with the elements of `weights`."""
    graph = graph.clone()
    graph.name = "network"
    data = {v.name: v.data for v in weights.constants()}
    for node in graph.nodes:
        node.loc = None
    for value in graph.constants():
        value.data = data[value.name]
    return graph


@pytest.mark.parametrize("model", ["b", "d", "e", "j"])
def test_it_makes_the_delayed_networks_of_the_paper(model: str) -> None:
    graph = load(f"constrained_time_{model}").graph
    before = {v.name: v.data for v in graph.constants()}
    (record,) = PassManager(parse_pipeline("delay-pooling")).run(graph)
    assert record.contract == RETRAIN
    assert [r.node for r in record.rewrote] == [f"stage{i}.maxpool1" for i in range(2, 5 if model == "j" else 4)]
    # The pyramid's pools feed no convolution.
    assert not record.declined
    expected = load(f"constrained_time_{model}_delayed", seed=1).graph
    assert difference(bare(graph, graph), bare(expected, graph)) is None
    assert {v.name: v.data for v in graph.constants()} == before


KINDS = [
    # pool attributes, size of its output for 11 pixels
    ("MaxPool", "kernel_size=[2, 2], stride=[2, 2]", 5),
    ("MaxPool", "kernel_size=[2, 2], stride=[2, 2], ceil_mode=true", 6),
    ("MaxPool", "kernel_size=[3, 3], stride=[2, 2], pads=[1, 1, 1, 1]", 6),
    ("MaxPool", "kernel_size=[3, 3], stride=[3, 3], pads=[1, 1, 0, 0]", 4),
    ("AveragePool", "kernel_size=[3, 3], stride=[2, 2], ceil_mode=true", 5),
    ("AveragePool", "kernel_size=[2, 2], stride=[3, 3]", 4),
    ("AveragePool", "kernel_size=[2, 2], stride=[2, 2], ceil_mode=true", 6),
    ("AveragePool", "kernel_size=[3, 3], stride=[2, 2], pads=[1, 1, 1, 1], count_include_pad=true", 6),
]
CONVS = [
    # kernel, attributes, the size that n pixels become
    (3, "kernel_size=[3, 3], pads=[1, 1, 1, 1]", lambda n: n),
    (2, "kernel_size=[2, 2], pads=[0, 0, 1, 1]", lambda n: n),
    (2, "kernel_size=[2, 2]", lambda n: n - 1),
    (3, "kernel_size=[3, 3], stride=[2, 2], pads=[2, 2, 1, 1]", lambda n: n // 2 + 1),
    (2, "kernel_size=[2, 2], pads=[1, 1, 2, 2], dilation=[2, 2]", lambda n: n + 1),
]


@pytest.mark.parametrize(("pool", "conv"), list(itertools.product(KINDS, CONVS)))
def test_the_exact_form_keeps_the_function(lab: Any, pool: Any, conv: Any) -> None:
    op, attrs, n = pool
    kernel, conv_attrs, size = conv
    graph = f"""
    input %x: f64[N,2,11,11]
    const %w: f64[4,2,{kernel},{kernel}]
    const %b: f64[4]
    %pool: f64[N,2,{n},{n}] = {op}(%x) {{{attrs}}}
    %conv: f64[N,4,{size(n)},{size(n)}] = Conv(%pool, %w, %b) {{{conv_attrs}}}
    output "y" = %conv
    """
    result = lab.run(graph, "delay-pooling{form=exact}")
    assert result.records[0].contract == EXACT
    assert len(result.rewrote) == 1 and "moved to 'conv'" in result.rewrote[0]


def reads(more: str = "", attrs: str = "kernel_size=[2, 2], stride=[2, 2]", n: int = 5) -> str:
    return f"""
    input %x: f64[N,2,11,11]
    const %w: f64[4,2,1,1]
    %pool: f64[N,2,{n},{n}] = MaxPool(%x) {{{attrs}}}
    %conv: f64[N,4,{n},{n}] = Conv(%pool, %w) {{kernel_size=[1, 1]}}{more}
    output "y" = %conv
    """


@pytest.mark.parametrize("form", list(Form))
def test_declines(lab: Any, form: Form) -> None:
    pipeline = f"delay-pooling{{form={form}}}"
    relu = "\n    %relu: f64[N,2,5,5] = Relu(%pool)"
    lab.refuses(reads(relu) + '    output "z" = %relu\n', pipeline, ["pool: Relu 'relu' reads it too"])
    lab.refuses(reads() + '    output "z" = %pool\n', pipeline, ["pool: is a graph output"])
    lab.refuses(reads(attrs="kernel_size=[2, 2], stride=[2, 2], dilation=[2, 2]"), pipeline, ["pool: is dilated"])
    lab.refuses(reads(attrs="kernel_size=[2, 2]", n=10), pipeline, [])


def test_the_papers_form_declines_what_would_change_the_output(lab: Any) -> None:
    # Without a padding that makes up for it, 10 maxima and a kernel of 3 are one pixel more.
    graph = """
    input %x: f64[N,2,12,12]
    const %w: f64[4,2,3,3]
    %pool: f64[N,2,6,6] = MaxPool(%x) {kernel_size=[2, 2], stride=[2, 2]}
    %conv: f64[N,4,4,4] = Conv(%pool, %w) {kernel_size=[3, 3]}
    output "y" = %conv
    """
    reason = "pool: the graph output 'conv' would turn from f64[N,4,4,4] into f64[N,4,5,5]"
    lab.refuses(graph, "delay-pooling", [reason])


def test_layers_are_chosen_by_name() -> None:
    graph = load("constrained_time_e").graph
    (record,) = PassManager(parse_pipeline("delay-pooling{form=exact layers=[stage3.*]}")).run(graph)
    assert [r.node for r in record.rewrote] == ["stage3.maxpool1"]
    with pytest.raises(CnnirError, match=r"Unknown layer 'stage3.maxpool'. Did you mean 'stage3.maxpool1'"):
        PassManager(parse_pipeline("delay-pooling{layers=[stage3.maxpool]}")).run(graph)
    with pytest.raises(CnnirError, match="No layer of graph 'constrained_time_e' is called like 'x"):
        PassManager(parse_pipeline("delay-pooling{layers=[x*]}")).run(graph)


def test_options() -> None:
    assert parse_pipeline("delay-pooling{form=exact layers=[a]}") == (DelayPooling(Form.EXACT, ("a",)),)
    assert format_pipeline((DelayPooling(Form.EXACT),)) == "delay-pooling{form=exact}"
    with pytest.raises(CnnirError, match="Expected names of layers, got an empty one"):
        parse_pipeline('delay-pooling{layers=[""]}')
    with pytest.raises(CnnirError, match="Option 'form': expected one of exact, paper, got 'loose'"):
        parse_pipeline("delay-pooling{form=loose}")
