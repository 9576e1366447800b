"""What the report says of a small network, against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from cnnir.backends import reference
from cnnir.data import open_dataset
from cnnir.errors import CnnirError
from cnnir.frontends.dsl import BatchNorm, Conv, Dense, Flatten, GlobalAvgPool, ReLU, Tensor, architecture
from cnnir.frontends.source import Source
from cnnir.inspect.drawing import drawing, touched
from cnnir.inspect.numerics import Observation, change, image_batches, node_errors, observe, seeded_batches
from cnnir.inspect.report import Size, inspect_pipeline
from cnnir.inspect.run import run_inspection
from cnnir.ir import Graph
from cnnir.ir.data import ArrayData
from cnnir.passes.base import RETRAIN, Contract, Pass, Report
from cnnir.passes.manager import PassError
from cnnir.passes.pipeline import parse_pipeline
from cnnir.preprocess import preset


@architecture(input=(3, 8, 8))
def small(image: Tensor) -> Tensor:
    x = image >> Conv(4, 3, padding=1, bias=False, name="conv") >> BatchNorm(name="bn") >> ReLU(name="relu")
    return x >> GlobalAvgPool(name="pool") >> Flatten(name="flat") >> Dense(5, name="fc")


@pytest.fixture
def graph() -> Graph:
    built = small.build("small", seed=0)
    rng = np.random.default_rng(1)
    for value in built.constants():
        # Statistics of their own, so that folding rounds.
        value.data = ArrayData(rng.uniform(0.5, 1.5, value.type.shape).astype(np.float32))
    return built


@dataclass(frozen=True)
class Scale(Pass):
    """Multiplies every weight of the dense layer by 1.5, which is no small error."""

    name: ClassVar[str] = "scale"
    contract: ClassVar[Contract] = RETRAIN

    def run(self, graph: Graph, report: Report) -> None:
        for constant in graph.node("fc").inputs[1:]:
            assert constant is not None and constant.data is not None
            constant.data = ArrayData(constant.data.numpy() * np.float32(1.5))
        report.rewrote("fc", "scaled")
        report.declined("conv", "is no dense layer")


@dataclass(frozen=True)
class Crash(Pass):
    name: ClassVar[str] = "crash"
    contract: ClassVar[Contract] = RETRAIN

    def run(self, graph: Graph, report: Report) -> None:
        raise ZeroDivisionError("on purpose")


def test_size_by_hand(graph: Graph) -> None:
    size = Size.of(graph)
    assert size.nodes == 6
    assert size.params == 4 * 3 * 9 + 2 * 4 + (5 * 4 + 5)
    # Normalisation counts two an element.
    assert size.macs == 8 * 8 * 4 * 27 + 2 * 4 * 64 + 5 * 4
    # The largest moment: the map of four channels before and after the normalisation.
    assert size.peak_activation_bytes == 2 * (4 * 64) * 4
    assert size.receptive_field == (3, 3) and list(size.output_fields.values()) == [(8, 8)]


def test_folding_by_hand(graph: Graph) -> None:
    found = inspect_pipeline(
        graph, parse_pipeline("dce,fold-batch-norm"), feeds=seeded_batches(graph, 4), data="seeded inputs"
    )
    assert [(v.record.name, v.before, v.after) for v in found.views] == [("dce", 0, 0), ("fold-batch-norm", 0, 1)]
    value = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    idle, fold = value["passes"]
    assert idle["delta"] == dict.fromkeys(idle["delta"], 0) and idle["diff"] == "" and idle["deviation"] is None
    # Scale and shift go, a bias comes.
    assert (fold["delta"]["nodes"], fold["delta"]["params"]) == (-1, -4)
    assert fold["delta"]["macs"] == -2 * 4 * 64
    assert "-%bn: f32[N,4,8,8] = BatchNormalization" in fold["diff"] and "Flatten" not in fold["diff"]
    assert fold["contract"] == "exact" and fold["seconds"] > 0 and fold["latency"] is None
    # Weights are rounded once more: u = 2^-24 relative, one layer deep.
    assert 0 < fold["deviation"]["relative_rms"] < 4 * 2**-24
    assert fold["deviation"]["top1_agreement"] == 1.0 and fold["deviation_from_source"] == value["deviation"]
    assert (value["images"], value["data"], value["before"]["nodes"]) == (4, "seeded inputs", 6)
    # The source is untouched.
    assert len(graph.nodes) == 6


def test_deviation_by_hand(graph: Graph) -> None:
    found = inspect_pipeline(graph, (Scale(),), feeds=seeded_batches(graph, 3))
    (view,) = found.views
    assert view.change is not None
    assert view.change.deviation.relative_rms == pytest.approx(0.5, rel=1e-6)
    assert view.change.deviation.worst.cosine == pytest.approx(1.0)
    assert view.change.top1 == 1.0
    errors = found.states[1].errors
    assert errors["fc"] == pytest.approx(0.5, rel=1e-6)
    assert {errors[n] for n in ("conv", "bn", "relu", "pool", "flat")} == {0.0}
    assert found.as_dict()["passes"][0]["declined"] == [{"node": "conv", "reason": "is no dense layer"}]


def test_top1_agreement_is_a_share() -> None:
    before = Observation({"scores": np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0]])}, {})
    after = Observation({"scores": np.array([[1.0, 2.0], [2.9, 3.0], [0.0, 1.0]])}, {})
    assert change(before, after).top1 == pytest.approx(2 / 3)
    # A map of features scores no classes.
    image = Observation({"map": np.ones((2, 3, 4, 4))}, {})
    assert change(image, image).top1 is None


def test_fused_nodes_answer_for_their_last_origin(graph: Graph) -> None:
    found = inspect_pipeline(graph, parse_pipeline("inference"), feeds=seeded_batches(graph, 2))
    last = found.states[-1]
    conv = last.graph.node("conv")
    assert set(conv.origins) == {"conv", "bn", "relu"}
    assert 0 <= last.errors["conv"] < 8 * 2**-24


def test_samples_are_those_of_the_reference(graph: Graph) -> None:
    (feeds,) = seeded_batches(graph, 2)
    seen = observe(graph, [feeds], lambda *_: None, "")
    expected = reference.run(graph, feeds)
    assert all(np.array_equal(seen.outputs[name], expected[name]) for name in expected)
    assert node_errors(graph, seen, graph, seen) == dict.fromkeys((n.name for n in graph.nodes), 0.0)


def test_no_inputs_no_numbers(graph: Graph) -> None:
    found = inspect_pipeline(graph, parse_pipeline("fold-batch-norm"))
    assert found.states[-1].total is None and found.as_dict()["deviation"] is None and found.images == 0


def test_touched(graph: Graph) -> None:
    found = inspect_pipeline(graph, parse_pipeline("fold-batch-norm"))
    marks = touched(found.states[0].graph, found.states[1].graph)
    # The activation reads the convolution now, which stands for the normalisation: that is no change of its own.
    assert marks == {"removed": ["bn"], "added": [], "changed": ["conv"]}
    assert touched(graph, graph.clone()) == {"removed": [], "added": [], "changed": []}


def test_drawing(graph: Graph) -> None:
    found = inspect_pipeline(graph, parse_pipeline("fold-batch-norm"), feeds=seeded_batches(graph, 1))
    drawn = drawing(found.states[0])
    names = [n["n"] for n in drawn["nodes"]]
    assert names == [graph.inputs[0].name, "conv", "bn", "relu", "pool", "flat", "fc", next(iter(graph.outputs))]
    assert [n["y"] for n in drawn["nodes"]] == list(range(8)) and {n["x"] for n in drawn["nodes"]} == {0}
    conv = drawn["nodes"][1]
    assert (conv["m"], conv["p"], conv["r"], conv["e"]) == (8 * 8 * 4 * 27, 108, [3, 3], 0.0)
    assert "test_report.py:" in conv["l"] and conv["t"] == "f32[N,4,8,8]"
    assert [edge[:2] for edge in drawn["edges"]] == [[i, i + 1] for i in range(7)]


def test_images(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "images" / "0").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / "0" / f"{i}.png")
    dataset = open_dataset(tmp_path / "images")
    (batch,) = image_batches(graph, dataset, preset("raw", (8, 8)), 2)
    assert np.array_equal(batch[graph.inputs[0].name], pixels[:2].transpose(0, 3, 1, 2).astype(np.float32))
    source = Source(graph, "small", "random", True)
    found = run_inspection(source, (), data=str(tmp_path / "images"), preprocess="raw", images=9)
    assert found.images == 3 and found.views == ()
    with pytest.raises(CnnirError, match="Nothing says how an image becomes"):
        run_inspection(source, (), data=str(tmp_path / "images"))
    with pytest.raises(CnnirError, match="There is no data"):
        run_inspection(source, (), data="missing.npz", preprocess="raw")


def test_fixed_batch(graph: Graph) -> None:
    assert [len(next(iter(b.values()))) for b in seeded_batches(graph.clone(batch=2), 5)] == [2, 2]


def test_dump_and_reproducer(graph: Graph, tmp_path: Path) -> None:
    source = Source(graph, "small", "random", True)
    folder = tmp_path / "dump"
    run_inspection(source, parse_pipeline("dce,fold-batch-norm"), images=0, dump_dir=folder)
    assert sorted(p.name for p in folder.iterdir()) == ["00-source.txt", "01-fold-batch-norm.txt"]
    assert "BatchNorm" in (folder / "00-source.txt").read_text()
    assert "BatchNorm" not in (folder / "01-fold-batch-norm.txt").read_text()
    with pytest.raises(PassError, match="Pass 'crash' failed"):
        run_inspection(source, (Crash(),), images=0, dump_dir=folder)
    assert "on purpose" in (folder / "small-crash" / "error.txt").read_text()


def test_latencies_are_those_of_the_compiled_code(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnir.bench.latency import Plan

    monkeypatch.setenv("CNNIR_CACHE_DIR", str(tmp_path))
    plan = Plan(rounds=5, calls=3, gap=0.0)
    passes = parse_pipeline("fold-batch-norm,fuse-epilogue")
    found = run_inspection(Source(graph, "small", "random", True), passes, measure=True, plan=plan, threads=1)
    for one in found.as_dict()["passes"]:
        assert one["latency"]["not_measured"] == []
        assert 0 < one["latency"]["after_ms"] < 100 and 0 < one["latency"]["before_ms"] < 100
        low, high = one["latency"]["ratio_interval"]
        assert 0 < low <= one["latency"]["ratio"] <= high
    assert found.latencies is not None and found.latencies.threads == 1
    assert found.latencies.rounds.keys() == {0, 1, 2} and len(found.latencies.rounds[0]) == 5
