"""One clear sentence on standard error, exit code 2, and no file, for every mistake of the user's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnnir import artifact as artifact_file
from cnnir.passes.dce import Dce

Cli = Callable[..., Any]

NEGATIVE = """
from cnnir.frontends.dsl import Conv, Tensor, architecture


@architecture(input=(3, 8, 8))
def shrunk(image: Tensor) -> Tensor:
    x = image >> Conv(8, 5)
    return x >> Conv(8, 5)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, artifact: Path, photograph: Path, tiny: Path) -> dict[str, str]:
    """Files that are wrong in one way each, by name."""
    folder = tmp_path_factory.mktemp("wrong")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 8, 8])
    opset = [helper.make_opsetid("", 17)]
    nodes = [helper.make_node("Det", ["x"], ["y"], name="odd_one")]
    unsupported = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opset, ir_version=9)
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    good = helper.make_model(helper.make_graph(relu, "g", [x], [y]), opset_imports=opset, ir_version=9)
    data = good.SerializeToString()
    (folder / "unsupported.onnx").write_bytes(unsupported.SerializeToString())
    (folder / "good.onnx").write_bytes(data)
    (folder / "cut.onnx").write_bytes(data[: len(data) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("no model")
    (folder / "shrunk.py").write_text(NEGATIVE)
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes(photograph.read_bytes()[:200])
    (folder / "bad.json").write_text('{"scal": 1}')
    zeros = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "fc.weight": (4, 8), "fc.bias": (4,)}
    right = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    wrong = {**right, "conv.weight": np.zeros((8, 3, 5, 5), np.float32), "odd": np.zeros(1, np.float32)}
    del wrong["fc.bias"]
    np.savez(folder / "right.npz", **right)  # type: ignore[arg-type]  # NumPy's stub takes no mapping here
    np.savez(folder / "wrong.npz", **wrong)  # type: ignore[arg-type]
    whole = artifact.read_bytes()
    (folder / "cut.cnnmod").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (folder / "flipped.cnnmod").write_bytes(flipped)
    opened = artifact_file.Artifact.open(artifact)
    foreign = replace(opened.manifest, cpu_features=("avx2", "avx4096"))
    artifact_file.write(folder / "foreign.cnnmod", foreign, {n: opened.member(n) for n in opened.manifest.members})
    (folder / "folder").mkdir()
    named = {path.name: str(path) for path in folder.iterdir()}
    return {
        **named,
        "tiny": f"{tiny}:tiny",
        "tiny.py": str(tiny),
        "artifact": str(artifact),
        "photo": str(photograph),
    }


# Arguments (a name in braces is a file above), and words that the user has to read.
CASES: list[tuple[str, list[str]]] = [
    # names
    ("compile resnet50e", ["Unknown model 'resnet50e'", "Did you mean 'resnet50"]),
    ("compil lenet5", ["Unknown command 'compil'", "Did you mean 'compile'?"]),
    ("compile lenet5 --pases dce", ["No such option: --pases", "--passes", "cnnir compile --help"]),
    ("compile lenet5 --target x68", ["Unknown target 'x68'", "Did you mean 'x86'?"]),
    ("compile lenet5 --precision fp33", ["has no precision 'fp33'", "fp32"]),
    ("compile {tiny} --preprocess cafe", ["Unknown preprocessing 'cafe'", "Did you mean 'caffe'?"]),
    ("compile {tiny} --preprocess {bad.json}", ["bad.json", "Unknown preprocessing field 'scal'", "'scale'"]),
    ("compile lenet5 --preprocess caffe", ["'caffe' needs a model with 3 input channels, got 1"]),
    ("bench lenet5 --against onruntime", ["Unknown peer 'onruntime'", "Did you mean 'onnxruntime'?"]),
    ("bench lenet5 --against onnxruntime:bf16", ["no precision 'bf16'", "fp32"]),
    ("bench lenet5 --against ", ["Expected peers separated by commas"]),
    ("models --family resnets", ["Unknown family 'resnets'", "Did you mean 'resnet'?"]),
    # pipelines
    (
        "compile lenet5 --passes fold-batchnorm",
        ["Unknown pass 'fold-batchnorm'", "Did you mean 'fold-batch-norm'?"],
    ),
    ("compile lenet5 --passes dce{x=1}", ["pass 'dce'", "Unknown option 'x'"]),
    ("compile lenet5 --passes constant-folding{max_elements=many}", ["expected an integer, got 'many'"]),
    ("show lenet5 --passes dce,,cse", ["expected the name of a pass, got ','"]),
    ("inspect lenet5 --passes repeat(", ["expected the name of a pass, got the end"]),
    # numbers
    ("compile lenet5 --batch 0", ["Invalid value for '--batch'", "1"]),
    ("compile lenet5 --batch two", ["Invalid value for '--batch'", "integer"]),
    ("compile lenet5 --class-offset 10", ["A class offset of 10 leaves no class of the 10 outputs"]),
    ("run {artifact} --image {photo} --threads 4097", ["4097"]),
    ("compile", ["Missing argument", "cnnir compile --help"]),
    # sources
    ("compile {cut.onnx}", ["cut.onnx"]),
    ("compile {empty.onnx}", ["empty.onnx"]),
    ("compile {text.onnx}", ["text.onnx"]),
    ("compile missing.onnx", ["The file 'missing.onnx' does not exist"]),
    ("compile {folder}.onnx", ["does not exist"]),
    ("compile {unsupported.onnx}", ["'Det'", "opset 17", "is not supported", "odd_one", "Supported"]),
    ("compile {shrunk.py}", ["shrunk.py:8:", "input 4", "kernel 5"]),
    ("compile {syntax.py}", ["syntax.py:1:", "not Python"]),
    ("compile {tiny.py}:tinny", ["Unknown function 'tinny'", "Did you mean 'tiny'?"]),
    # weights
    (
        "compile {tiny} --weights {wrong.npz}",
        [
            "1 missing, 1 extra, 1 of the wrong shape",
            "'fc.bias'",
            "'odd'",
            "expected [8, 3, 3, 3], got [8, 3, 5, 5]",
        ],
    ),
    ("compile {tiny} --weights missing.npz", ["'missing.npz' does not exist"]),
    ("compile {tiny} --weights {photo}", ["not a kind of weights file"]),
    # images and data
    ("run {artifact} --image {text.jpg}", ["text.jpg' is not an image"]),
    ("run {artifact} --image {cut.jpg}", ["cut.jpg' is"]),
    ("run {artifact} --image missing.jpg", ["missing.jpg", "No such file"]),
    ("run {artifact} --image {photo} --preprocess torc", ["Unknown preprocessing 'torc'", "Did you mean 'torch'?"]),
    ("validate {artifact} --data missing.npz", ["missing.npz"]),
    ("validate {artifact} --data {right.npz}", ["right.npz"]),
    # artifacts
    ("run {cut.cnnmod} --image {photo}", ["cut.cnnmod"]),
    ("run {flipped.cnnmod} --image {photo}", ["flipped.cnnmod", "sha256"]),
    ("info {flipped.cnnmod}", ["flipped.cnnmod", "sha256"]),
    ("run {foreign.cnnmod} --image {photo}", ["'avx4096'", "lacks"]),
    ("bench {foreign.cnnmod}", ["'avx4096'", "lacks"]),
    ("info {photo}", ["photo.jpg"]),
    ("info missing.cnnmod", ["There is no file 'missing.cnnmod'"]),
    # places to write to
    ("compile {tiny} -o no/such/folder/x.cnnmod", ["There is no folder 'no/such/folder'"]),
    ("compile {tiny} -o {folder}", ["is a folder"]),
    ("compile {good.onnx} -o {good.onnx}", ["is the source itself"]),
    # options without effect
    ("bench {artifact} --passes dce", ["'--passes' has no effect", "compiled already"]),
    ("bench {artifact} --batch 2", ["'--batch' has no effect"]),
    ("bench {artifact} --seed 2", ["'--seed' belongs to a source"]),
    ("bench {artifact} --source lenet5", ["there are none", "--against"]),
    ("bench lenet5 --source lenet5", ["'--source' belongs to an artifact"]),
    # the network of an artifact
    ("bench {artifact} --against onnxruntime", ["The peers need the network", "--source", "'tiny'"]),
    ("bench {artifact} --against onnxruntime --source lenet5", ["not the network", "its weights differ"]),
    ("bench {artifact} --against onnxruntime --source {tiny} --seed 1", ["its weights differ"]),
    ("bench {artifact} --against onnxruntime --source {tiny} --weights {right.npz}", ["its weights differ"]),
]


@pytest.mark.parametrize(("command", "words"), CASES, ids=[command for command, _ in CASES])
def test_one_sentence(command: str, words: list[str], cli: Cli, files: dict[str, str], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(files["good.onnx"]).parent.iterdir()}
    arguments = []
    for argument in command.split(" "):
        for name, path in files.items():
            argument = argument.replace(f"{{{name}}}", path)
        arguments.append(argument)
    result = cli(*arguments)
    assert result.code == 2, result.err
    assert result.out == ""
    # The sentence comes last, after the stages that were begun.
    lines = result.err[result.err.index("error: ") :].splitlines()
    assert all(line.startswith(("  note: ", "  hint: ")) for line in lines[1:])
    for word in words:
        assert word in result.err
    assert "Traceback" not in result.err and "bug" not in result.err
    # No file is left: no artifact, no part of one, no reproducer.
    assert list((tmp_path / "here").iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_full_disk(cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the artifact is written: the old one stays, and nothing beside it."""
    real = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(tmp_path / "here"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    old = tmp_path / "here" / "tiny.cnnmod"
    old.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    result = cli("compile", f"{tiny}:tiny")
    assert result.code == 2
    assert "error: No space is left on the disk to write 'tiny.cnnmod'." in result.err
    assert "Traceback" not in result.err
    assert list((tmp_path / "here").iterdir()) == [old]
    assert old.read_text() == "old"


def test_folder_that_may_not_be_written_to(cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("locked").mkdir()
    # The modes of a folder do not bind root, which may well run the tests.
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and real(path, mode))
    result = cli("compile", f"{tiny}:tiny", "-o", "locked/x.cnnmod")
    assert result.code == 2
    assert "error: The folder 'locked' may not be written to." in result.err
    assert "load" not in result.err


def test_bug_leaves_a_reproducer(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Dce, "run", broken)
    result = cli("show", "lenet5", "--passes", "dce")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert "Pass 'dce' failed on graph 'lenet5': ZeroDivisionError: by zero" in result.err
    (folder,) = (tmp_path / "temporary").iterdir()
    assert f"please report it with the folder '{folder}'" in result.err
    assert (folder / "command.txt").read_text() == "cnnir show lenet5 --passes dce\n"
    assert "ZeroDivisionError: by zero" in (folder / "traceback.txt").read_text()
    assert "apache-tvm " in (folder / "versions.txt").read_text()
    assert 'graph "lenet5"' in (folder / "graph.cnnir").read_text()


def test_unexpected_exception_is_a_bug(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("cnnir.cli.show.load", broken)
    result = cli("show", "lenet5")
    assert result.code == 1
    assert result.err.startswith("bug: KeyError inside cnnir")
    (folder,) = (tmp_path / "temporary").iterdir()
    assert "KeyError: 'lost'" in (folder / "traceback.txt").read_text()
    assert not (folder / "graph.cnnir").exists()


def test_bug_without_a_place_for_the_reproducer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("lost")

    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("cnnir.cli.show.load", broken)
    monkeypatch.setattr("tempfile.mkdtemp", full)
    result = cli("show", "lenet5")
    assert result.code == 1
    assert "Traceback" in result.err  # the only place left for it
    assert "please report it with the lines above" in result.err


def test_memory_and_interrupt(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raiser(error: BaseException) -> Callable[..., None]:
        def run(*_: object, **__: object) -> None:
            raise error

        return run

    monkeypatch.setattr("cnnir.cli.show.load", raiser(MemoryError()))
    result = cli("show", "lenet5")
    assert (result.code, result.err) == (2, "error: There is not enough memory for this.\n")
    monkeypatch.setattr("cnnir.cli.show.load", raiser(KeyboardInterrupt()))
    result = cli("show", "lenet5")
    assert (result.code, result.err) == (130, "interrupted\n")
    monkeypatch.setattr("cnnir.cli.show.load", raiser(OSError(errno.EIO, "x", "weights.bin")))
    result = cli("show", "lenet5")
    assert (result.code, result.err) == (2, "error: Input/output error: 'weights.bin'.\n")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_unsupported_file_is_valid_onnx(files: dict[str, str]) -> None:
    """Else the case above would only show that the checker works."""
    onnx.checker.check_model(files["unsupported.onnx"])
