"""What commands print: one JSON document with the promised keys, or lines and tables for people."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir import runtime
from cnnir.artifact import Artifact
from cnnir.preprocess import open_image, preset

Cli = Callable[..., Any]


def dataset(path: Path, n: int = 6) -> Path:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=rng.integers(0, 4, n))
    return path


def test_show(cli: Cli) -> None:
    result = cli("show", "lenet5", "--json")
    assert (result.code, result.err) == (0, "")
    value = result.json()
    # LeCun et al. 1998 with C3 fully connected and dense outputs: 156 + 2416 + 48120 + 10164 + 850 parameters.
    assert value["params"] == 61_706
    # Products: 6*28*28*25 + 16*10*10*150 + 120*400 + 84*120 + 10*84.
    assert value["macs"] == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert len(value["nodes"]) == 12
    result = cli("show", "lenet5")
    assert "12 nodes, 61,706 parameters, 417 k" in result.out
    assert "weights: random, seed 0" in result.out


def test_show_passes_and_text(cli: Cli) -> None:
    fused = cli("show", "lenet5", "--passes", "inference", "--json").json()
    assert len(fused["nodes"]) == 8 and fused["params"] == 61_706
    assert cli("show", "lenet5", "--passes", "", "--json").json()["nodes"][1]["op"] == "Tanh"
    text = cli("show", "lenet5", "--text").out
    assert text.startswith("cnnir 1\n") and "%c1: f32[N,6,28,28] = Conv(%input, %c1.weight, %c1.bias)" in text
    assert cli("show", "lenet5", "--text", "--json").json()["text"] in text


def test_show_of_a_batch(cli: Cli) -> None:
    batch = cli("show", "lenet5", "--batch", "3", "--json").json()
    assert batch["macs"] == 3 * cli("show", "lenet5", "--json").json()["macs"]


def test_passes(cli: Cli) -> None:
    value = cli("passes", "--json").json()
    names = {p["name"] for p in value["passes"]}
    assert {"fold-batch-norm", "fuse-epilogue", "dce"} <= names
    assert value["pipelines"]["none"] == ""
    (folding,) = (p for p in value["passes"] if p["name"] == "constant-folding")
    assert {"name", "type", "default"} == set(folding["options"][0])
    assert all(name in cli("passes").out for name in [*names, "inference"])


def test_targets(cli: Cli) -> None:
    value = cli("targets", "--json").json()
    assert [t["name"] for t in value][-1] == "onnx" and value[-1]["runs_here"] is True
    assert "avx2" in next(t for t in value if t["name"] == "x86:avx2")["cpu_features"]
    assert "x86:avx512" in cli("targets").out


def test_inspect(cli: Cli) -> None:
    value = cli("inspect", "lenet5", "--json").json()
    (fused,) = (p for p in value["passes"] if p["name"] == "fuse-epilogue")
    assert (fused["before"]["nodes"], fused["after"]["nodes"]) == (12, 8)
    assert {r["node"] for r in fused["rewrote"]} == {"tanh1", "tanh2", "tanh3", "tanh4"}
    out = cli("inspect", "lenet5", "--diff").out
    assert "nodes 12 -> 8" in out and "\n-%tanh1: " in out and "dce: nothing to do" in out
    assert cli("inspect", "lenet5", "--passes", "").out == "no pass was run\n"


def test_inspect_shortens_long_lists(cli: Cli) -> None:
    short, long = cli("inspect", "resnet18"), cli("inspect", "resnet18", "--all")
    assert "+ 12 more (see --all)" in short.out
    assert "more (see" not in long.out and long.out.count("folded into") == 1 + 16 + 3  # as many as layers


def test_info(cli: Cli, artifact: Path) -> None:
    value = cli("info", artifact, "--json").json()
    assert value == Artifact.open(artifact).manifest.to_json()
    out = cli("info", artifact).out
    assert "tiny, batch 1" in out and "random, seed 0" in out and "resize 8" in out


def test_run(cli: Cli, artifact: Path, photograph: Path) -> None:
    (value,) = cli("run", artifact, "--image", photograph, "--top", "2", "--json").json()
    assert value["image"] == str(photograph) and len(value["top"]) == 2
    x = preset("tf", (8, 8)).apply(open_image(photograph))
    scores = runtime.load(artifact)(x[np.newaxis])["logits"][0].astype(np.float64)
    softmax = np.exp(scores) / np.exp(scores).sum()
    best = int(scores.argmax())
    assert value["top"][0]["index"] == best
    assert value["top"][0]["probability"] == pytest.approx(softmax[best], rel=1e-6)
    # Another preprocessing on the command line takes precedence over the stored one.
    (raw,) = cli("run", artifact, "--image", photograph, "--preprocess", "raw", "--json").json()
    assert raw["top"][0]["probability"] != value["top"][0]["probability"]
    out = cli("run", artifact, "--image", photograph, "--image", photograph).out
    assert out.count(str(photograph)) == 2 and f"{100 * softmax[best]:.2f}%" in out


def test_validate(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    data = dataset(tmp_path / "data.npz")
    result = cli("validate", artifact, "--data", data, "--json")
    value = result.json()
    with np.load(data) as archive:
        images, labels = archive["images"], archive["labels"]
    prepare = preset("tf", (8, 8))
    scores = runtime.load(artifact)(np.stack([prepare.apply(i) for i in images]))["logits"]
    assert value["n"] == 6
    assert value["top1"] == pytest.approx(100 * (scores.argmax(1) == labels).mean())
    assert value["top5"] == 100.0  # of four classes
    assert cli("validate", artifact, "--data", data, "--json", "--limit", "2").json()["n"] == 2
    assert "on 6 images" in cli("validate", artifact, "--data", data).out


def test_bench_alone(cli: Cli, artifact: Path) -> None:
    result = cli("bench", artifact, "--rounds", "1", "--calls", "3", "--threads", "1", "--json")
    value = result.json()
    assert 0 < value["median_ms"] <= value["p90_ms"] <= value["p99_ms"]
    assert value["threads"] == 1 and value["against"] == [] and value["model"] == "tiny"
    assert "warning" not in result.err


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs ONNX Runtime")
def test_bench_against(cli: Cli, artifact: Path, tiny: Path) -> None:
    fixed = ["--against", "onnxruntime", "--rounds", "1", "--calls", "2", "--source", f"{tiny}:tiny"]
    result = cli("bench", artifact, *fixed, "--json")
    (peer,) = result.json()["against"]
    assert {"name", "version", "precision", "median_ms", "ratio_median", "ratio_interval"} <= set(peer)
    assert peer["name"] == "onnxruntime" and peer["agrees"] is True
    assert peer["ratio_interval"][0] <= peer["ratio_median"] <= peer["ratio_interval"][1]
    assert "warning: onnxruntime: 1 round" in result.err
    out = cli("bench", artifact, *fixed).out
    assert "cannot conclude" in out and "ratio: our median over theirs" in out and "1 alternating round of" in out


def test_bench_of_a_source_uses_its_own_weights(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peers' network is the one that was compiled: the same weights, seed included."""
    seen: list[Path] = []
    import cnnir.bench

    real = cnnir.bench.bench

    def spy(artifact: Path, *, onnx: Path, **rest: Any) -> Any:
        from cnnir.backends.onnx import run_model

        x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
        ours, theirs = runtime.load(artifact)(x), run_model(onnx.read_bytes(), {"input": x})
        np.testing.assert_allclose(ours["logits"], theirs["logits"], rtol=1e-4, atol=1e-6)
        seen.append(onnx)
        return real(artifact, onnx=onnx, **rest)

    monkeypatch.setattr("cnnir.bench.bench", spy)
    for seed in (0, 5):
        result = cli("bench", f"{tiny}:tiny", "--seed", seed, "--against", "onnxruntime", "--rounds", "1", "--json")
        assert result.code == 0, result.err
        assert result.json()["against"][0]["agrees"] is True
    assert len(seen) == 2
    assert "initialised at random, seed 5" in result.err


def test_built_in_network_is_found_by_its_name_and_seed(cli: Cli) -> None:
    assert cli("compile", "lenet5", "--seed", "4").code == 0
    result = cli("bench", "lenet5.cnnmod", "--against", "onnxruntime", "--rounds", "1", "--calls", "1", "--json")
    assert result.code == 0, result.err
    assert result.json()["against"][0]["agrees"] is True


def test_network_called_like_a_built_in_one(cli: Cli, tiny: Path) -> None:
    """A user's own 'lenet5' is never measured against the built-in one."""
    assert cli("compile", f"{tiny}:lenet5").code == 0
    result = cli("bench", "lenet5.cnnmod", "--against", "onnxruntime")
    assert result.code == 2
    assert "'lenet5' is not the network that 'lenet5.cnnmod' was compiled from" in result.err


def test_peer_that_computes_something_else_is_reported() -> None:
    from cnnir.bench import PeerResult, ratio, summarize
    from cnnir.cli.bench import doubts
    from cnnir.validate.numeric import compare

    apart = compare({"y": np.array([1.0, 2.0])}, {"y": np.array([1.0, 2.5])})
    times = [1.0] * 6

    def peer(agrees: bool | None) -> PeerResult:
        return PeerResult("openvino", "1", "bf16", summarize(times), ratio(times, times), apart, agrees)

    assert doubts(peer(True)) == doubts(peer(None)) == []
    (doubt,) = doubts(peer(False))
    assert doubt.startswith("openvino:bf16: its outputs differ from ours by a relative RMS of 1.9e-01")


def test_version_and_help(cli: Cli) -> None:
    from cnnir import __version__

    assert cli("--version").out == f"cnnir {__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        result = cli(*arguments)
        assert result.code == 0 and "validate" in result.out
    assert "--class-offset" in cli("compile", "--help").out
