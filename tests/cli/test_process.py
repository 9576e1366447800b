"""The program as the shell sees it: what it imports, pipes that close, signals, limits."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CNNIR = [sys.executable, "-m", "cnnir.cli"]
HEAVY = ["onnxruntime", "openvino", "scipy.stats", "torch", "tvm", "tvm_ffi"]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["show", "lenet5"], ["inspect", "lenet5"], ["models", "--family", "lenet"], ["passes"]],
)
def test_what_is_imported(arguments: list[str]) -> None:
    code = f"""
import sys
from cnnir.cli.app import main
try:
    main({arguments!r})
except SystemExit as ended:
    sys.stderr.write(f"{{ended.code}} " + " ".join(m for m in {HEAVY!r} if m in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 "
    assert done.stdout


@pytest.mark.parametrize(
    "arguments", [["show", "lenet5"], ["show", "lenet5", "--json"], ["show", "lenet5", "--text"]]
)
def test_reader_that_goes_away(arguments: list[str]) -> None:
    """`cnnir show lenet5 | head -1`, at its worst: the reader is gone before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        done = subprocess.run([*CNNIR, *arguments], stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.fixture
def compiling(tiny: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A compilation that has come to the generation of code."""
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    command = [*CNNIR, "compile", f"{tiny}:tiny", "--no-cache"]
    with subprocess.Popen(
        command,
        cwd=tmp_path / "here",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell without job control starts its background jobs, and so their children, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "compile " in line:
                break
        yield process
        process.kill()


def test_killed(compiling: subprocess.Popen[str], tmp_path: Path) -> None:
    compiling.kill()
    assert compiling.wait() == -signal.SIGKILL
    assert list((tmp_path / "here").iterdir()) == []


def test_interrupted(compiling: subprocess.Popen[str], tmp_path: Path) -> None:
    compiling.send_signal(signal.SIGINT)
    out, err = compiling.communicate(timeout=60)
    assert (compiling.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_limit_of_file_sizes(artifact: Path, tiny: Path, tmp_path: Path) -> None:
    """A disk that takes no more than so many bytes of a file (the code itself is in the cache)."""
    done = subprocess.run(
        [*CNNIR, "compile", f"{tiny}:tiny"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "larger than the file size limit" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
