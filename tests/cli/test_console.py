"""Tables that never break a name, figures with a prefix, JSON without NaN, progress on standard error."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from cnnir.cli import console
from cnnir.cli.console import print_json, print_table, progress, quantity

COLUMNS = ["name", ">figure", "?first extra", "?second extra", "remark"]
ROWS = [
    ("layer1.0.downsample.1", "1.23 M", "a" * 12, "b" * 12, "a sentence that goes on for more than forty columns"),
    ("fc", "45", "a", "b", "short"),
]


def rendered(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setattr(console, "out", Console(width=width, highlight=False))
    print_table(COLUMNS, ROWS)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [30, 50, 60, 80, 120, 100_000])
def test_tables(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = rendered(width, monkeypatch, capsys)
    text = "\n".join(lines)
    # Names and figures are whole at any width, and nothing is cut.
    assert "layer1.0.downsample.1  1.23 M" in text
    assert "…" not in text
    assert all(word in text for word in ROWS[0][4].split())
    assert all(line == line.rstrip() for line in lines)
    if width >= 60:
        assert max(map(len, lines)) <= width
    assert ("first extra" in text) == (width >= 80)
    assert ("second extra" in text) == (width >= 120)
    if width == 100_000:
        assert len(lines) == 3


def test_column_without_content_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "out", Console(width=80, highlight=False))
    print_table(["name", "nothing", ">x"], [("a", "", 1), ("b", "", 22)])
    assert capsys.readouterr().out == "name   x\na      1\nb     22\n"
    print_table(["name", "x"], [])
    assert capsys.readouterr().out == "name  x\n"


def test_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "out", Console(width=80, highlight=False))
    print_table(["type"], [("f32[N,3]",), ("[red]x[/red]",)])
    console.say("[bold]f32[1][/bold]")
    assert capsys.readouterr().out == "type\nf32[N,3]\n[red]x[/red]\n[bold]f32[1][/bold]\n"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (850, "", "850"),
        (999.4, "", "999"),
        (999.6, "", "1 k"),
        (1000, "B", "1 kB"),
        (25_576_264, "", "25.6 M"),
        (4.36e9, "", "4.36 G"),
        (999_999, "", "1 M"),
        (123_456, "B", "123 kB"),
        (12, "B", "12 B"),
        (2.5e12, "", "2.5 T"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [1.5, -math.inf], "c": ("é", None, True)})
    assert '"a": null' in (text := capsys.readouterr().out)
    assert "Infinity" not in text and "é" in text and text.endswith("}\n")


def test_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = iter([0.0, 0.0, 1.0, 2.0, 15.0, 16.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    with progress() as advance:
        advance("load", 0, 0)
        for done in range(4):
            advance("measure", done, 4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "[0 s] load\n[1 s] measure\n[15 s] measure 2/4\n"


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True, width=80))
    with progress() as advance:
        advance("load", 0, 0)
        advance("measure", 1, 4)
        advance("measure", 2, 4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "measure" in captured.err and "2/4" in captured.err and "ETA" in captured.err
