"""Every example compiles as its docstring says, and each teaches what it claims."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnir import runtime
from cnnir.backends import onnx as onnx_backend
from cnnir.cli import main
from cnnir.frontends.source import load
from cnnir.ir import Graph

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))

NETWORKS = {
    "tinynet": ["logits"],
    "resblocks14": ["logits"],
    "siamese": ["alike"],
    "two_heads": ["scores", "box"],
    "mobile": ["logits"],
}


def graph_of(name: str) -> Graph:
    return load(f"{EXAMPLES / name}.py").graph


def command(file: Path) -> tuple[str, str]:
    """The `cnnir compile` line of an example's docstring: its file and its network."""
    (found,) = re.findall(r"^    cnnir compile (examples/\w+\.py):(\w+)$", file.read_text(), re.MULTILINE)
    return found


def test_every_example_is_tried() -> None:
    assert sorted(command(file)[1] for file in FILES) == sorted(NETWORKS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_is_short_and_says_what_it_teaches(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) < 60
    assert "Teaches:" in text.split('"""')[1]
    assert command(file)[0] == f"examples/{file.name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_compiles_as_its_docstring_says(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The compiler compares its code with the reference; here ONNX Runtime is the judge."""
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setenv("CNNIR_CACHE_DIR", str(tmp_path / "cache"))
    path, network = command(file)
    artifact = tmp_path / "net.cnnmod"
    with pytest.raises(SystemExit) as ended:
        main(["compile", f"{path}:{network}", "-o", str(artifact)])
    assert ended.value.code in (0, None), capsys.readouterr().err
    assert "checked against the float64 reference" in capsys.readouterr().out

    graph = load(f"{path}:{network}").graph
    assert list(graph.outputs) == NETWORKS[network]
    rng = np.random.default_rng(0)
    feeds = {v.name: rng.standard_normal(v.type.with_batch(1).shape).astype(np.float32) for v in graph.inputs}
    actual = runtime.load(artifact)(**feeds)
    expected = onnx_backend.run(graph, feeds)
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(
            actual[name], expected[name], rtol=1e-4, atol=1e-5 * np.abs(expected[name]).max()
        )


def test_resblocks_are_named_as_in_pytorch() -> None:
    graph = load(f"{EXAMPLES / 'resblocks.py'}:resblocks8").graph
    names = {v.name for v in graph.parameters()}
    assert {"layer1.0.conv1.weight", "layer2.0.shortcut.0.weight", "layer3.0.shortcut.1.bias"} <= names
    assert not any(n.startswith("layer1.0.shortcut") for n in names)


def test_siamese_convolves_both_images_with_one_set_of_weights() -> None:
    graph = graph_of("siamese")
    weights = [n.inputs[1] for n in graph.nodes if n.op.name == "Conv"]
    assert len(weights) == 4
    assert len({id(w) for w in weights}) == 2


def test_two_heads_drop_the_third_at_inference() -> None:
    network = load(f"{EXAMPLES / 'two_heads.py'}:two_heads")
    assert not any(v.name.startswith("early") for v in network.graph.parameters())


def test_mobile_pads_as_tensorflow() -> None:
    """Kernel 3, stride 2, 64 pixels: nothing before, one row and column after."""
    (stem,) = [n for n in graph_of("mobile").nodes if n.name == "stem.0"]
    assert stem.attrs.pads == (0, 0, 1, 1)
    assert {n.attrs.groups for n in graph_of("mobile").nodes if n.op.name == "Conv"} > {1, 2}


@pytest.mark.parametrize("name", ["tinynet", "siamese"])
def test_it_runs_as_a_program(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], capture_output=True, text=True, timeout=60, check=True
    )
    expected = {
        # 3*16*9+16 + 16*32*9+32 + 32*64*9+64 + 64*100+100
        "tinynet": "tinynet: 11 nodes, 30,084 parameters\n",
        "siamese": "4 convolutions: encoder.0, encoder.3, encoder.0_1, encoder.3_1\n"
        "weights: encoder.0.weight, encoder.3.weight, encoder.7.weight, head.weigh.weight\n",
    }
    assert done.stdout == expected[name]
