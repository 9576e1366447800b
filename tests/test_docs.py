"""Every page of the documentation is true: its Python runs, and its commands print what it shows.

The Python blocks of a page run in order in one namespace; one that begins with a comment such as `# net.py` is that
file, too, for the commands after it. A line `$ cnnir ...` of a console block is run, and what follows it is its
output (of a failing command its error), where `...` stands for anything, alone on a line for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, its text and the line of the page on which the text begins."""

    language: str
    text: str
    line: int


def fences(page: str) -> list[Fence]:
    return [
        Fence(found[1], found[2], page.count("\n", 0, found.start(2)) + 1)
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block and the output shown for each."""
    parts = re.split(r"^\$ (.*)\n?", text, flags=re.MULTILINE)
    assert not parts[0], f"output before any command: {parts[0]!r}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def pattern(shown: str) -> re.Pattern[str]:
    """What the output must match as a whole. Spaces between columns and at the ends of lines do not matter."""
    lines = []
    for line in shown.strip().splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            words = (r".*?".join(re.escape(part) for part in word.split("...")) for word in line.split())
            lines.append(r"[ ]*" + r"[ ]+".join(words) + r"[ ]*\n")
    return re.compile("".join(lines))


def matches(shown: str, output: str) -> bool:
    return pattern(shown).fullmatch(output.strip() + "\n") is not None


def run_command(command: str, folder: Path) -> str:
    """Runs `cnnir ...` and gives its output, or the error that it ends with."""
    program, *arguments = shlex.split(command)
    assert program == "cnnir", f"only cnnir's own commands are tried, not '{program}'"
    done = subprocess.run(
        [sys.executable, "-m", "cnnir.cli", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "140", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNIR_CACHE_DIR", str(tmp_path / "cache"))
    name = f"docs/{page.name}"
    namespace: dict[str, object] = {"__name__": f"docs_{page.stem}"}
    for fence in fences(page.read_text()):
        if fence.language == "python":
            if file := re.match(r"# (\w+\.py)\n", fence.text):
                (tmp_path / file[1]).write_text(fence.text)
            # Line numbers in tracebacks are the page's.
            exec(compile("\n" * (fence.line - 1) + fence.text, name, "exec"), namespace)
        elif fence.language == "console":
            for command, shown in commands(fence.text):
                output = run_command(command, tmp_path)
                assert not shown.strip() or matches(shown, output), f"{name}: '{command}' printed:\n{output}"


def test_the_language_has_a_page_and_names_everything() -> None:
    """Every layer that the language exports is on its page."""
    from cnnir.frontends import dsl

    text = (ROOT / "docs" / "dsl.md").read_text()
    layers = [
        name
        for name, member in vars(dsl).items()
        if isinstance(member, type) and issubclass(member, dsl.Layer) and name not in ("Layer", "Block")
    ]
    assert len(layers) > 20
    assert not [name for name in layers if f"`{name}`" not in text]


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("a  b\nc", "a b\nc\n", True),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nd\n", True),
        ("in ... s", "in 0.3 s\n", True),
        ("a\nb", "a\nb\nc\n", False),
        ("a\n...", "b\nc\n", False),
        ("1.5 k", "1x5 k\n", False),
        ("a b", "ab\n", False),
    ],
)
def test_what_counts_as_equal(shown: str, output: str, expected: bool) -> None:
    assert matches(shown, output) == expected


def test_commands_and_their_output_are_told_apart() -> None:
    assert commands("$ cnnir a\n$ cnnir b\nx\ny\n") == [("cnnir a", ""), ("cnnir b", "x\ny\n")]
    (fence,) = fences("text\n\n```console\n$ cnnir a\n```\n")
    assert (fence.language, fence.text, fence.line) == ("console", "$ cnnir a\n", 4)
