"""`cnnir models`."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cnnir.analysis import complexity, graph_cost
from cnnir.bench import Plan
from cnnir.cli import models as command
from cnnir.cli.app import app
from cnnir.data.published import TOP1
from cnnir.errors import CnnirError, UnknownNameError
from cnnir.frontends import zoo


def run(*args: str) -> str:
    result = CliRunner().invoke(app, ["models", *args], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def table(*args: str) -> list[dict[str, Any]]:
    rows = json.loads(run("--json", *args))
    assert isinstance(rows, list)
    return rows


def test_json_of_every_model() -> None:
    begin = time.process_time()
    rows = table()
    # No weights are drawn: minutes otherwise.
    assert time.process_time() - begin < 30
    assert [r["name"] for r in rows] == [m.name for m in zoo.models()]
    for row in rows:
        assert row["params"] > 0
        assert row["macs"] > 0
        assert row["activations"] > 0
        assert row["depth"] > 0
        assert all(n > 0 for n in row["receptive_field"])
        assert row["training_params"] >= 0
        assert row["family"]
        assert row["paper"]
        assert len(row["input"]) == 3


def test_figures_of_a_family() -> None:
    (row,) = (r for r in table("--family", "vgg") if r["name"] == "vgg16_bn")
    # torchvision's table of weights; 16 layers, 212 pixels (Distill 2019) are what the names and the paper say.
    assert row["params"] == 138_365_992
    assert row["training_params"] == 0
    assert row["depth"] == 16
    assert row["receptive_field"] == [212, 212]
    assert row["top1"] == 73.36
    assert row["input"] == [3, 224, 224]
    assert row["macs"] == graph_cost(zoo.build("vgg16_bn")).total.macs


def test_training_only_heads_are_counted_apart() -> None:
    (row,) = (r for r in table("--family", "googlenet") if r["name"] == "googlenet")
    # torchvision: 13,004,888 with the two auxiliary heads, 6,624,904 without.
    assert row["params"] == 6_624_904
    assert row["training_params"] == 13_004_888 - 6_624_904


def test_complexity_relative_to_a() -> None:
    rows = {r["name"]: r["relative_complexity"] for r in table("--family", "constrained-time")}
    assert len(rows) == 20
    assert rows["constrained_time_a"] == 1
    total = {m: complexity(zoo.build(f"constrained_time_{m}")).total for m in "aj"}
    assert rows["constrained_time_j"] == total["j"] / total["a"]
    text = run("--family", "constrained-time")
    assert "complexity" in text
    assert "relative to 'constrained_time_a'" in text


def test_columns_that_do_not_apply_are_left_out() -> None:
    header = run("--family", "nin").splitlines()[0].split()
    assert header == ["name", "family", "params", "GMACs", "activations", "depth", "field", "input", "paper"]


def test_unknown_family() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'vgg'"):
        command.chosen("vvg")


def test_plot(tmp_path: Path) -> None:
    path = tmp_path / "out.svg"
    rows = json.loads(run("--family", "vgg", "--plot", str(path), "--json"))
    root = ElementTree.parse(path).getroot()
    labels = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text") if e.get("class") == "label"]
    assert sorted(filter(None, labels)) == sorted(r["name"] for r in rows)
    assert len(labels) == 8


def test_plot_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match="None of these models has a published accuracy"):
        command.models(family="lenet", plot=tmp_path / "out.svg")
    assert not (tmp_path / "out.svg").exists()


def test_plot_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match="cannot be written"):
        command.models(family="vgg", plot=tmp_path / "no" / "out.svg")


def test_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small model is compiled and timed; one that does not compile is named and left out."""
    small = command.row(next(m for m in zoo.models() if m.name == "lenet5"))
    short = Plan(rounds=1, calls=2)
    monkeypatch.setattr("cnnir.bench.Plan", lambda **_: short)
    (timed,) = command.measure([small], lambda what, done, total: None)
    assert timed.latency is not None
    assert 0 < timed.latency < 1000
    assert timed.as_dict()["latency_ms"] == timed.latency

    def refuse(*_: object, **__: object) -> None:
        raise CnnirError("No.")

    monkeypatch.setattr("cnnir.compiler.compile_source", refuse)
    assert command.measure([small], lambda what, done, total: None) == []
    with pytest.raises(CnnirError, match="None of these models could be measured"):
        command.models(family="nin", plot=tmp_path / "out.svg", measured=True)
    assert not (tmp_path / "out.svg").exists()


def test_published_accuracies_have_their_models_and_sources() -> None:
    assert set(TOP1) <= set(zoo.names())
    assert all(40 < p.top1 < 90 and p.source for p in TOP1.values())


def test_published_accuracies_are_torchvision_s() -> None:
    """The files of the installed torchvision say the same; they are read, not run."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchvision is not installed (extra 'torch')")
    text = "".join(p.read_text() for p in (Path(spec.origin).parent / "models").glob("*.py"))
    ours = [p.top1 for p in TOP1.values() if p.source.startswith("torchvision")]
    assert len(ours) > 20
    for top1 in ours:
        assert f'"acc@1": {top1:.3f}' in text
