"""`cnnir compile`: what it writes, what it says, and that it writes nothing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir import runtime
from cnnir.artifact import Artifact
from cnnir.backends.product import Product

Cli = Callable[..., Any]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The sources of the modules that were really compiled, with a cache that is empty at first."""
    from cnnir.backends.tvm.x86 import backend

    monkeypatch.setenv("CNNIR_CACHE_DIR", str(tmp_path / "cache"))
    real = backend.build_module
    seen: list[str] = []

    def counting(source: str, *rest: Any) -> Any:
        seen.append(source)
        return real(source, *rest)

    monkeypatch.setattr(backend, "build_module", counting)
    return seen


def test_json(cli: Cli, tiny: Path) -> None:
    result = cli("compile", f"{tiny}:tiny", "--json")
    value = result.json()
    assert {"artifact", "target", "precision", "seconds", "passes", "validation"} <= set(value)
    assert value["artifact"] == "tiny.cnnmod" and value["precision"] == "fp32"
    assert value["target"].startswith("x86:") and value["seconds"] > 0
    assert {"dce", "fuse-epilogue"} <= {p["name"] for p in value["passes"]}
    assert 0 < value["validation"]["relative_rms"] <= value["validation"]["bound"]
    assert Path("tiny.cnnmod").is_file()
    assert "no weights given: 'tiny' is initialised at random, seed 0" in result.err


def test_report(cli: Cli, tiny: Path) -> None:
    out = cli("compile", f"{tiny}:tiny", "-o", "out.cnnmod").out
    assert out.startswith("out.cnnmod: tiny for x86:") and "checked against the float64 reference" in out


def test_same_bytes(cli: Cli, tiny: Path, builds: list[str]) -> None:
    """Compiled twice from nothing, in another folder and under another name of the file."""
    Path("other").mkdir()
    assert cli("compile", f"{tiny}:tiny", "--no-cache", "-o", "a.cnnmod").code == 0
    assert cli("compile", f"{tiny}:tiny", "--no-cache", "-o", "other/b.cnnmod").code == 0
    assert len(builds) == 2
    assert Path("a.cnnmod").read_bytes() == Path("other/b.cnnmod").read_bytes()


def test_second_compilation_is_from_the_cache(cli: Cli, tiny: Path, builds: list[str]) -> None:
    assert cli("compile", f"{tiny}:tiny", "-o", "a.cnnmod").code == 0
    assert len(builds) == 1
    assert cli("compile", f"{tiny}:tiny", "-o", "b.cnnmod").code == 0
    assert len(builds) == 1
    assert Path("a.cnnmod").read_bytes() == Path("b.cnnmod").read_bytes()
    # Other weights need no other code; but they are other weights.
    assert cli("compile", f"{tiny}:tiny", "--seed", "1", "-o", "c.cnnmod").code == 0
    assert len(builds) == 1
    x = np.ones((1, 3, 8, 8), np.float32)
    a, c = (runtime.load(name)(x)["logits"] for name in ("a.cnnmod", "c.cnnmod"))
    assert not np.allclose(a, c, rtol=1e-2)
    assert cli("compile", f"{tiny}:tiny", "--batch", "2").code == 0
    assert len(builds) == 2


def test_wrong_kernel_is_never_written(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the packed ones differs by 2%: the check against the reference sees it."""
    from cnnir import compiler

    real = compiler._build

    def off(*arguments: Any) -> Product:
        product = real(*arguments)
        members = dict(product.members)
        weights = np.array(members["weights.f32"])
        weights[np.abs(weights).argmax()] *= 1.02
        members["weights.f32"] = weights
        return replace(product, members=members)

    monkeypatch.setattr(compiler, "_build", off)
    result = cli("compile", f"{tiny}:tiny")
    assert result.code == 1
    assert "error: The compiled code is wrong: output 'logits' has a relative RMS deviation" in result.err
    assert "Nothing was written" in result.err and result.out == ""
    assert list((tmp_path / "here").iterdir()) == []
    (bundle,) = (tmp_path / "temporary").iterdir()
    assert f"report it with the folder '{bundle}'" in result.err
    assert 'graph "tiny"' in (bundle / "graph.cnnir").read_text()


def test_manifest_holds_no_path(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "fc.weight": (4, 8), "fc.bias": (4,)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "trained.npz", **arrays)  # type: ignore[arg-type]  # NumPy's stub takes no mapping here
    assert cli("compile", f"{tiny}:tiny", "--weights", tmp_path / "trained.npz").code == 0
    manifest = Artifact.open("tiny.cnnmod").manifest
    assert manifest.model == "tiny"
    assert manifest.weights_from.startswith("trained.npz, sha256 ")
    text = manifest.dumps().decode()
    assert str(tmp_path) not in text and str(tiny.parent) not in text and str(Path.home()) + "/" not in text


def test_imagenet_architecture_runs_on_photographs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled plainly, an architecture for ImageNet knows its preprocessing and its classes."""
    from PIL import Image

    source = """
from cnnir.frontends.dsl import Conv, Dense, Flatten, GlobalAvgPool, Tensor, architecture

@architecture(input=(3, 16, 16), labels="imagenet")
def small(image: Tensor) -> Tensor:
    return image >> Conv(4, 3) >> GlobalAvgPool() >> Flatten() >> Dense(1000)
"""
    Path("small.py").write_text(source)
    result = cli("compile", "small.py")
    assert result.code == 0
    assert "preset 'torch' is stored" in result.err
    manifest = Artifact.open("small.cnnmod").manifest
    assert manifest.preprocessing is not None
    assert manifest.preprocessing["mean"] == [0.485, 0.456, 0.406]
    Image.new("RGB", (40, 30), (200, 10, 10)).save("red.png")
    (value,) = cli("run", "small.cnnmod", "--image", "red.png", "--json").json()
    assert len(value["top"]) == 5 and not any(c["name"].isdigit() for c in value["top"])
    assert cli("compile", "small.py", "--preprocess", "raw").code == 0
    manifest = Artifact.open("small.cnnmod").manifest
    assert manifest.preprocessing is not None and manifest.preprocessing["mean"] == [0.0, 0.0, 0.0]


def test_onnx_target(cli: Cli, tiny: Path) -> None:
    assert cli("compile", f"{tiny}:tiny", "--target", "onnx", "-o", "o.cnnmod").code == 0
    assert cli("compile", f"{tiny}:tiny", "-o", "x.cnnmod").code == 0
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    ours, theirs = (runtime.load(name)(x)["logits"] for name in ("x.cnnmod", "o.cnnmod"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
