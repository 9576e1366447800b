"""The Python side of `cnnir compile`: what is compiled, what it is checked against, what the manifest says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from cnnir import compiler, runtime
from cnnir.artifact import Artifact
from cnnir.backends import reference
from cnnir.backends.targets import TARGETS
from cnnir.cache import Cache
from cnnir.compiler import Options, class_labels, compile_source, provenance, seeded_inputs, weights_digest
from cnnir.data.names import imagenet_names
from cnnir.errors import CnnirError, UnknownNameError
from cnnir.frontends.source import Source, load
from cnnir.ir import Graph
from cnnir.ir.data import ArrayData
from cnnir.passes.base import Contract, Pass, Report, approximate
from cnnir.passes.registry import _PASSES, register

NETS = """
from cnnir.frontends.dsl import Conv, Dense, Flatten, GlobalAvgPool, ReLU, Tensor, architecture

def body(image: Tensor, classes: int) -> Tensor:
    return image >> Conv(4, 3, padding=1, name="conv") >> ReLU() >> GlobalAvgPool() >> Flatten() >> Dense(classes)

@architecture(input=(3, 8, 8))
def tiny(image: Tensor, classes: int = 4) -> Tensor:
    return body(image, classes)

@architecture(input=(3, 8, 8), labels="imagenet")
def photo(image: Tensor, classes: int = 1000) -> Tensor:
    return body(image, classes)

@architecture(input=(1, 8, 8), labels="imagenet")
def gray(image: Tensor) -> Tensor:
    return body(image, 1000)
"""


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Source]:
    """Loads one of the nets above."""
    path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(NETS)
    return lambda name, **rest: load(f"{path}:{name}", **rest)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def halving() -> Any:
    """A pass that changes the function, and says so: it halves every weight of a convolution."""

    @register
    @dataclass(frozen=True)
    class Halve(Pass):
        """Halves weights."""

        name: ClassVar[str] = "halve-for-test"
        contract: ClassVar[Contract] = approximate("relative RMS", 1.0)

        def run(self, graph: Graph, report: Report) -> None:
            for node in graph.nodes:
                if node.op.name == "Conv":
                    weight = node.inputs[1]
                    assert weight is not None and weight.data is not None
                    weight.data = ArrayData(weight.data.numpy() * np.float32(0.5))
                    report.rewrote(node.name, "halved")

    yield Halve
    del _PASSES["halve-for-test"]


def test_result_agrees_with_the_reference(nets: Callable[..., Source], cache: Cache, tmp_path: Path) -> None:
    source = nets("tiny", seed=3)
    stages: list[str] = []
    compiled = compile_source(
        source, tmp_path / "t.cnnmod", cache=cache, progress=lambda what, done, total: stages.append(what)
    )
    x = np.random.default_rng(7).standard_normal((1, 3, 8, 8), dtype=np.float32)
    expected = reference.run(source.graph, {"input": x})["logits"]
    np.testing.assert_allclose(runtime.load(compiled.path)(x)["logits"], expected, rtol=1e-5, atol=1e-6)
    assert compiled.manifest == Artifact.open(compiled.path).manifest
    assert compiled.deviation is not None and compiled.deviation.passed
    assert stages[0] == "passes" and stages[-1] == "write"
    assert compiled.seconds > 0 and compiled.notes == ()
    assert [s.name for s in compiled.manifest.pipeline] == [r.name for r in compiled.records]
    # The source is as it was.
    assert [n.op.name for n in source.graph.nodes] == [n.op.name for n in nets("tiny").graph.nodes]


def test_exact_pipeline_answers_for_the_source(
    nets: Callable[..., Source], cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, checked = nets("tiny"), []
    real = reference.run
    monkeypatch.setattr(compiler.reference, "run", lambda g, feeds: checked.append(g) or real(g, feeds))
    compile_source(source, tmp_path / "t.cnnmod", cache=cache)
    assert checked == [source.graph]


def test_other_pipeline_answers_for_what_it_made(
    nets: Callable[..., Source], cache: Cache, tmp_path: Path, halving: type[Pass], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = nets("tiny")
    options = Options(pipeline="halve-for-test,inference")
    compiled = compile_source(source, tmp_path / "t.cnnmod", options, cache=cache)
    assert compiled.deviation is not None and compiled.deviation.passed
    x = seeded_inputs(source.graph, 1)["input"]
    (y,) = runtime.load(compiled.path)(x).values()
    difference = np.abs(y - reference.run(source.graph, {"input": x})["logits"]).max()
    assert difference > 1e-3
    assert compiled.manifest.pipeline[0].contract == "approximate(relative RMS <= 1)"
    # Were the same pass called exact, its code would be called wrong.
    monkeypatch.setattr(halving, "contract", compiler.EXACT)
    with pytest.raises(compiler.WrongCodeError, match="The compiled code is wrong") as caught:
        compile_source(source, tmp_path / "wrong.cnnmod", options, cache=cache)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "wrong.cnnmod").exists()


def test_batch(nets: Callable[..., Source], cache: Cache, tmp_path: Path) -> None:
    source = nets("tiny")
    compiled = compile_source(source, tmp_path / "t.cnnmod", Options(batch=3), cache=cache)
    manifest = compiled.manifest
    assert (manifest.batch, manifest.inputs[0].shape, manifest.outputs[0].shape) == (3, (3, 3, 8, 8), (3, 4))
    assert manifest.inputs[0].batched and manifest.outputs[0].batched
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8), dtype=np.float32)
    expected = reference.run(source.graph, {"input": x})["logits"]
    np.testing.assert_allclose(runtime.load(compiled.path)(x)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_error_in_the_last_image_of_a_batch_is_seen(
    nets: Callable[..., Source], cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def __init__(self, module: runtime.Module) -> None:
            self.module = module

        def __call__(self, **feeds: np.ndarray[Any, Any]) -> dict[str, Any]:
            outputs = self.module(**feeds)
            outputs["logits"][-1] *= np.float32(1.001)
            return outputs

    real = runtime.load
    monkeypatch.setattr(compiler.runtime, "load", lambda path: Wrong(real(path)))
    with pytest.raises(compiler.WrongCodeError):
        compile_source(nets("tiny"), tmp_path / "t.cnnmod", Options(batch=3), cache=cache)
    assert list(tmp_path.iterdir()) == []


def test_target_of_another_machine(
    nets: Callable[..., Source], cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "runs_here", lambda target: False)
    compiled = compile_source(nets("tiny"), tmp_path / "t.cnnmod", Options(target="x86:avx2"), cache=cache)
    assert compiled.deviation is None
    assert compiled.manifest.validation is None
    assert compiled.notes == ("not checked: this machine cannot run 'x86:avx2'",)
    assert "avx2" in compiled.manifest.cpu_features


@pytest.mark.parametrize("target", [t.name for t in TARGETS])
def test_every_target_takes_its_precisions(target: str) -> None:
    for precision in next(t for t in TARGETS if t.name == target).precisions:
        assert Options(target=target, precision=precision).precision == precision


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "x87"}, "Unknown target 'x87'"),
        ({"precision": "fp31"}, "has no precision 'fp31'"),
        ({"pipeline": "dcd"}, "Unknown pass 'dcd'"),
        ({"batch": 0}, "Expected 'batch' of at least 1, got 0"),
        ({"class_offset": -1}, "Expected 'class_offset' of at least 0, got -1"),
    ],
)
def test_options_are_checked_when_they_are_given(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CnnirError, match=words):
        Options(**options)


def test_labels(nets: Callable[..., Source]) -> None:
    photo, tiny = nets("photo"), nets("tiny")
    assert class_labels(photo) == imagenet_names()
    assert class_labels(nets("photo", options={"classes": 1001}), 1) == ("background", *imagenet_names())
    # Another number of classes than the set has: no names rather than wrong ones.
    assert class_labels(nets("photo", options={"classes": 1001})) == ()
    assert class_labels(nets("photo", options={"classes": 10})) == ()
    # An architecture that names no set gets none, though it has ten outputs; a file's are told by their number.
    ten = nets("tiny", options={"classes": 10})
    assert class_labels(ten) == ()
    assert class_labels(replace(ten, info=None))[0] == "airplane"
    assert class_labels(replace(tiny, info=None)) == ()
    assert class_labels(load("lenet5")) == tuple("0123456789")
    with pytest.raises(CnnirError, match="A class offset of 4 leaves no class of the 4 outputs"):
        class_labels(tiny, 4)


def test_preprocessing(nets: Callable[..., Source], cache: Cache, tmp_path: Path) -> None:
    def stored(source: Source, **options: Any) -> tuple[Any, tuple[str, ...]]:
        compiled = compile_source(source, tmp_path / "t.cnnmod", Options(target="onnx", **options), cache=cache)
        return compiled.manifest.preprocessing, compiled.notes

    implied, notes = stored(nets("photo"))
    assert implied["mean"] == [0.485, 0.456, 0.406] and implied["crop"] == [8, 8]
    assert "preset 'torch' is stored" in notes[0]
    given, notes = stored(nets("photo"), preprocess="caffe")
    assert given["channels"] == "BGR" and notes == ()
    # No guess where the architecture says nothing, or where the preset has no meaning.
    assert stored(nets("tiny")) == (None, ())
    assert stored(nets("gray")) == (None, ())
    _, notes = stored(nets("tiny", options={"classes": 1001}))
    assert notes == ("1001 outputs: if the first is a background class, compile with --class-offset 1",)
    assert stored(nets("tiny", options={"classes": 1001}), class_offset=1) == (None, ())
    with pytest.raises(UnknownNameError, match="Unknown preprocessing 'torh'"):
        stored(nets("tiny"), preprocess="torh")


def test_provenance(nets: Callable[..., Source], tmp_path: Path) -> None:
    one, same, other = nets("tiny", seed=1), nets("tiny", seed=1), nets("tiny", seed=2)
    assert weights_digest(one.graph) == weights_digest(same.graph) != weights_digest(other.graph)
    assert provenance(one) == f"random, seed 1, sha256 {weights_digest(one.graph)}"
    trained = replace(one, weights_from=str(tmp_path / "trained.npz"), random_weights=False)
    assert provenance(trained) == f"trained.npz, sha256 {weights_digest(one.graph)}"
    # One bit of one weight makes another network; the same weights under other names do, too.
    changed = one.graph.clone()
    weight = next(v for v in changed.constants() if v.name == "conv.weight")
    assert weight.data is not None
    array = weight.data.numpy().copy()
    array.view(np.uint32)[0, 0, 0, 0] ^= 1
    weight.data = ArrayData(array)
    assert weights_digest(changed) != weights_digest(one.graph)


def test_destination_is_checked_first(nets: Callable[..., Source], tmp_path: Path) -> None:
    def never(what: str, done: int, total: int) -> None:
        raise AssertionError(what)

    with pytest.raises(CnnirError, match="is a folder"):
        compile_source(nets("tiny"), tmp_path, progress=never)
    with pytest.raises(CnnirError, match="There is no folder"):
        compile_source(nets("tiny"), tmp_path / "no" / "t.cnnmod", progress=never)


def test_a_network_that_amplifies_rounding_sets_its_own_bound(tmp_path: Path) -> None:
    file = tmp_path / "cancel.py"
    file.write_text(
        "from cnnir.frontends.dsl import Tensor, architecture\n\n"
        "@architecture(input=(3, 8, 8))\n"
        "def cancel(image: Tensor) -> Tensor:\n"
        "    return (image + 10000.0) - 10000.0\n"
    )
    compiled = compile_source(load(f"{file}:cancel"), tmp_path / "cancel.cnnmod", Options(pipeline="none"))
    assert compiled.deviation is not None
    # float32 has 24 bits: near 10,000 its values lie 2^-10 apart.
    assert 1e-5 < compiled.deviation.relative_rms < 2**-10
    assert compiled.deviation.bound == pytest.approx(4 * compiled.deviation.relative_rms, rel=0.5)
