"""`delay-downsampling`, `deepen-stem`, `avgpool-shortcut`, and what the three make of the zoo's networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.reference import run
from cnnir.errors import CnnirError
from cnnir.frontends.source import load
from cnnir.ir import Graph
from cnnir.ir.equality import difference
from cnnir.passes.base import RETRAIN
from cnnir.passes.deepen_stem import deep_stem_weights
from cnnir.passes.manager import PassManager, PassRecord
from cnnir.passes.pipeline import parse_pipeline


def rewritten(name: str, pipeline: str) -> tuple[Graph, list[PassRecord]]:
    graph = load(name).graph
    return graph, PassManager(parse_pipeline(pipeline)).run(graph)


def structure(graph: Graph, weights: Graph) -> Graph:
    """Without places in the source and origins, under one name, with the elements of `weights` where they fit."""
    graph = graph.clone()
    graph.name = "network"
    for node in graph.nodes:
        node.loc, node.origins = None, (node.name,)
    data = {v.name: v.data for v in weights.constants()}
    for value in graph.constants():
        if (new := data.get(value.name)) is not None and new.shape == value.type.shape:
            value.data = new
    return graph


def assert_same_structure(got: Graph, name: str) -> None:
    expected = load(name, seed=1).graph
    assert difference(structure(got, got), structure(expected, got)) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("resnet18", "resnet18d"),
        ("resnet34", "resnet34d"),
        ("resnet50", "resnet50d"),
        ("resnet50a", "resnet50d"),
        ("resnet101", "resnet101d"),
    ],
)
def test_the_pipeline_makes_variant_d(before: str, after: str) -> None:
    graph = load(before).graph
    old = graph.clone()
    records = PassManager(parse_pipeline("resnet-d")).run(graph)
    assert_same_structure(graph, after)
    assert [r.contract for r in records] == [RETRAIN] * 3
    # Every parameter but the stem's filters is carried: same data, and the name that variant d gives it.
    kept = {id(v.data): v.name for v in graph.constants()}
    lost = [v.name for v in old.constants() if id(v.data) not in kept]
    assert lost == ["conv1.weight"]
    moved = {v.name: kept[id(v.data)] for v in old.constants() if kept.get(id(v.data), v.name) != v.name}
    assert all(".downsample." in name for name in moved)
    assert moved["layer2.0.downsample.0.weight"] == "layer2.0.downsample.1.weight"
    assert moved["layer2.0.downsample.1.running_var"] == "layer2.0.downsample.2.running_var"
    # What is new is said.
    (stem,) = records[1].rewrote
    new = [v.name for v in graph.parameters() if v.name.startswith("conv1.")]
    assert len(new) == 7 and all(f"'{name}'" in stem.text for name in new)
    again = PassManager(parse_pipeline("resnet-d")).run(graph)
    assert not any(r.changed for r in again)


@pytest.mark.parametrize(
    ("before", "steps", "after"),
    [
        ("resnet50a", "delay-downsampling", "resnet50b"),
        ("resnet50a", "delay-downsampling,deepen-stem", "resnet50c"),
        ("resnet50b", "deepen-stem", "resnet50c"),
        ("resnet50c", "avgpool-shortcut", "resnet50d"),
    ],
)
def test_every_step_makes_the_next_variant(before: str, steps: str, after: str) -> None:
    assert_same_structure(rewritten(before, steps)[0], after)


def test_the_deep_stem_computes_nearly_what_the_old_one_did(lab: Any) -> None:
    # Smooth filters, as trained ones are: products of cosines of low frequency.
    t = np.arange(7)
    waves = [np.cos(np.pi * k * (t + 0.5) / 7) for k in range(3)]
    rng = np.random.default_rng(0)
    basis = np.stack([np.outer(a, b) for a in waves for b in waves])
    old = np.einsum(
        "ock,kij->ocij", rng.normal(size=(64, 3, 9)) * [1, 0.5, 0.2, 0.5, 0.2, 0.1, 0.2, 0.1, 0.1], basis
    )
    text = """
    input %x: f64[N,3,32,32]
    const %stem.weight: f64[64,3,7,7]
    %stem: f64[N,64,16,16] = Conv(%x, %stem.weight) {kernel_size=[7, 7], stride=[2, 2], pads=[3, 3, 3, 3]}
    output "y" = %stem
    """
    graph = lab.graph(text, {"stem.weight": old})
    x = rng.normal(size=(16, 3, 32, 32))
    (before,) = run(graph, {"x": x}).values()
    (record,) = PassManager(parse_pipeline("deepen-stem")).run(graph)
    assert record.rewrote[0].text.startswith("deepened to 'stem.0' ... 'stem.4'; ")
    (after,) = run(graph, {"x": x}).values()
    *_, kept = deep_stem_weights(old, 32)
    assert 0.9 < kept <= 1
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    error = np.sum((after - before)[inside] ** 2) / np.sum(before[inside] ** 2)
    # White noise shows the filters' energy and nothing else: the lost energy is the error.
    np.testing.assert_allclose(error, 1 - kept, rtol=0.2)


def test_filters_that_the_form_can_express_are_kept_exactly() -> None:
    # 3x3 patches of three channels have 27 dimensions: 27 filters and their negatives lose nothing.
    old = np.random.default_rng(0).normal(size=(16, 3, 7, 7))
    first, second, third, kept = deep_stem_weights(old, 54)
    assert (first.shape, second.shape, third.shape) == ((54, 3, 3, 3), (54, 54, 3, 3), (16, 54, 3, 3))
    assert kept > 1 - 1e-12
    assert deep_stem_weights(old, 32)[-1] < 0.999


@pytest.mark.parametrize(
    ("attrs", "size", "reason"),
    [
        ("kernel_size=[5, 5], stride=[2, 2], pads=[2, 2, 2, 2]", 8, "has a kernel of 5x5, not 7x7"),
        ("kernel_size=[7, 7], pads=[3, 3, 3, 3]", 16, "has the stride 1x1, not 2x2"),
        ("kernel_size=[7, 7], stride=[2, 2]", 5, "does not pad by 3 on every side"),
        (
            "kernel_size=[7, 7], stride=[2, 2], pads=[3, 3, 3, 3], activation=Activation(kind=relu)",
            8,
            "is dilated, grouped or carries an activation",
        ),
    ],
)
def test_deepen_stem_declines(lab: Any, attrs: str, size: int, reason: str) -> None:
    k = attrs[13]
    graph = f"""
    input %x: f64[N,3,16,16]
    const %w: f64[8,3,{k},{k}]
    %stem: f64[N,8,{size},{size}] = Conv(%x, %w) {{{attrs}}}
    output "y" = %stem
    """
    lab.refuses(graph, "deepen-stem", [f"stem: {reason}"])


def test_a_large_kernel_inside_the_network_is_no_stem(lab: Any) -> None:
    graph = """
    input %x: f64[N,3,16,16]
    const %w: f64[8,3,7,7]
    %r: f64[N,3,16,16] = Relu(%x)
    %conv: f64[N,8,8,8] = Conv(%r, %w) {kernel_size=[7, 7], stride=[2, 2], pads=[3, 3, 3, 3]}
    output "y" = %conv
    """
    lab.refuses(graph, "deepen-stem", [])


@pytest.mark.parametrize("width", [0, 7, -2])
def test_a_width_that_cannot_be_is_refused(width: int) -> None:
    with pytest.raises(CnnirError, match=f"Expected an even width of at least 2, got {width}"):
        parse_pipeline(f"deepen-stem{{width={width}}}")


def delayed(first: str = "", second: str = "", more: str = "", out: int = 4, middle: int = 4) -> str:
    return f"""
    input %x: f64[N,4,8,8]
    const %w1: f64[4,4,1,1]
    const %w2: f64[4,4,3,3]
    %a: f64[N,4,{middle},{middle}] = Conv(%x, %w1) {{kernel_size=[1, 1], stride=[2, 2]{first}}}
    %r: f64[N,4,{middle},{middle}] = Relu(%a)
    %b: f64[N,4,{out},{out}] = Conv(%r, %w2) {{kernel_size=[3, 3]{second}}}
    output "y" = %b{more}
    """


@pytest.mark.parametrize(
    ("graph", "reasons"),
    [
        (delayed(second=", stride=[2, 2], pads=[1, 1, 1, 1]", out=2), ["a: 'b' after it has a stride of its own"]),
        (delayed(second=", pads=[2, 2, 2, 2], dilation=[2, 2]"), ["a: 'b' after it is dilated"]),
        (delayed(second="", out=2), ["a: the graph output 'b' would turn from f64[N,4,2,2] into f64[N,4,3,3]"]),
        (delayed(second=", pads=[1, 1, 1, 1]", more='\n    output "z" = %a'), []),
        (delayed(second=", pads=[1, 1, 1, 1]", more='\n    output "z" = %r'), []),
        (delayed(first=", pads=[1, 1, 1, 1]", second=", pads=[1, 1, 1, 1]", out=5, middle=5), ["a: is padded"]),
    ],
    ids=["stride", "dilation", "size", "output", "read between", "padding"],
)
def test_delay_downsampling_declines(lab: Any, graph: str, reasons: list[str]) -> None:
    lab.refuses(graph, "delay-downsampling", reasons)


def shortcut(pads: str = "", body: str = "%x", size: int = 4) -> str:
    more = f"pads=[1, 1, {size - 3}, {size - 3}]"
    return f"""
    input %x: f64[N,4,8,8]
    input %z: f64[N,4,8,8]
    const %w1: f64[4,4,3,3]
    const %w2: f64[4,4,1,1]
    %a: f64[N,4,{size},{size}] = Conv({body}, %w1) {{kernel_size=[3, 3], stride=[2, 2], {more}}}
    %s: f64[N,4,{size},{size}] = Conv(%x, %w2) {{kernel_size=[1, 1], stride=[2, 2]{pads}}}
    %sum: f64[N,4,{size},{size}] = Add(%a, %s)
    %q: f64[N,4,8,8] = Relu(%x)
    output "y" = %sum
    output "q" = %q
    """


def test_a_shortcut_without_a_number_gets_a_pool_of_its_name(lab: Any) -> None:
    graph = lab.graph(shortcut())
    PassManager(parse_pipeline("avgpool-shortcut")).run(graph)
    assert [n.name for n in graph.nodes] == ["a", "s.pool", "s", "sum", "q"]
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 8))
    weights = {v.name: v.data.numpy() for v in graph.constants()}  # type: ignore[union-attr]
    got = run(graph, {"x": x, "z": x})["y"]
    rest = lab.graph(shortcut(), {"w2": 0})
    mean = x.reshape(2, 4, 4, 2, 4, 2).mean((3, 5))
    expected = run(rest, {"x": x, "z": x})["y"] + np.einsum("oc,nchw->nohw", weights["w2"][:, :, 0, 0], mean)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_avgpool_shortcut_leaves_other_sums_and_padded_shortcuts_alone(lab: Any) -> None:
    lab.refuses(shortcut(body="%z"), "avgpool-shortcut", [])
    lab.refuses(shortcut(", pads=[1, 1, 1, 1]", size=5), "avgpool-shortcut", ["s: is padded"])
