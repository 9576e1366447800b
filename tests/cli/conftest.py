"""Runs commands as a user would: exit code, standard output, standard error."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.cli import console
from cnnir.cli.app import main

TINY = '''
from cnnir.frontends.dsl import Conv, Dense, Flatten, GlobalAvgPool, ReLU, Tensor, architecture


@architecture(input=(3, 8, 8))
def tiny(image: Tensor) -> Tensor:
    x = image >> Conv(8, 3, padding=1, name="conv") >> ReLU() >> GlobalAvgPool()
    return x >> Flatten() >> Dense(4, name="fc")


@architecture(input=(3, 8, 8))
def lenet5(image: Tensor) -> Tensor:
    """Called like a built-in one."""
    return tiny(image)
'''


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which has to be one JSON document."""
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as long as they are, as in a pipe, whatever the environment of the test run says about columns."""
    for stream in (console.out, console.err):
        monkeypatch.setattr(stream, "width", console.UNBOUNDED)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A compile cache for all tests of a run, so that each net is compiled once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNIR_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture
def cli(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `cnnir` in this process, in an empty folder `here` with temporary files of its own in `temporary`."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's file with a network that compiles in a second."""
    path = tmp_path_factory.mktemp("source") / "tiny.py"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def artifact(tiny: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of `tiny.py:tiny`, compiled by the command line in a process of its own."""
    path = tmp_path_factory.mktemp("artifact") / "tiny.cnnmod"
    command = [sys.executable, "-m", "cnnir.cli", "compile", f"{tiny}:tiny", "-o", str(path), "--preprocess", "tf"]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small JPEG."""
    from PIL import Image

    path = tmp_path_factory.mktemp("image") / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
