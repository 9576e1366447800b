"""What commands print with: tables and progress for people, one JSON document for programs."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

Advance = Callable[[str, int, int], None]
"""Progress callback: what is being done, how much is done, of how much (0 when unknown)."""

UNBOUNDED = 100_000
"""Columns of a stream that is no terminal: a pipe or a file takes lines as long as they are."""

GAP = 2
"""Blanks between two columns of a table."""


class ReaderGoneError(Exception):
    """Nobody reads what is printed any more (`cnnir models | head -1`): no failure, but the end.

    Not a `BrokenPipeError`, which the command line's parser takes for a failure.
    """


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise ReaderGoneError


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    bounded = stream.isatty() or "COLUMNS" in os.environ
    return _Console(stderr=stderr, highlight=False, width=None if bounded else UNBOUNDED)


out = _console(stderr=False)
err = _console(stderr=True)


def say(text: str, *, style: str | None = None) -> None:
    """A line on standard output, as it is: brackets are no markup, and only the terminal may wrap it."""
    out.print(text, style=style, markup=False, soft_wrap=True)


def note(text: str) -> None:
    """A line on standard error: what a person should know and a program need not read."""
    err.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """A line on standard error about something that may spoil the result."""
    err.print("[bold yellow]warning:[/] ", end="")
    note(text)


def print_json(value: object) -> None:
    """Writes one JSON document to standard output, and nothing else."""
    try:
        sys.stdout.write(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


def _finite(value: object) -> object:
    """JSON has no NaN or infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table that never breaks a name or a number.

    A column whose name begins with `>` is right-aligned; one that begins with `?` is left out where the terminal
    is too narrow, the rightmost first. The last column, if it is left-aligned, wraps between words.
    """
    names = [column.lstrip(">?") for column in columns]
    cells = [[str(cell) for cell in row] for row in rows]
    # A column in which no row says anything is not worth its place.
    filled = [not cells or any(row[i] for row in cells) for i in range(len(names))]
    widths = [max(map(cell_len, [name, *(row[i] for row in cells)])) for i, name in enumerate(names)]
    kept = [i for i, fill in enumerate(filled) if fill]
    wraps = bool(kept) and ">" not in _marks(columns[kept[-1]])
    for i in reversed(range(len(names))):
        if _least(kept, widths, wraps) <= out.width:
            break
        if "?" in _marks(columns[i]) and i in kept:
            kept.remove(i)
            wraps = wraps and i < kept[-1]
    result = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    result.header_style = "bold"
    for i in kept:
        last = wraps and i == kept[-1]
        right = ">" in _marks(columns[i])
        result.add_column(
            names[i],
            justify="right" if right else "left",
            no_wrap=not last,
            min_width=min(widths[i], READABLE) if last else widths[i],
        )
    for row in cells:
        result.add_row(*(Text(row[i]) for i in kept))
    return result


READABLE = 24
"""Columns that text needs at least if it is to be wrapped."""


def _marks(column: str) -> str:
    return column[: len(column) - len(column.lstrip(">?"))]


def _least(kept: Sequence[int], widths: Sequence[int], wraps: bool) -> int:
    """The least width of a table with these columns."""
    needed = [widths[i] for i in kept]
    if wraps:
        needed[-1] = min(needed[-1], READABLE)
    return sum(needed) + GAP * (len(needed) - 1)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints `table`. One that is wider than the terminal is not cropped: the terminal breaks its lines."""
    made = table(columns, rows)
    least = out.measure(made, options=out.options.update(max_width=UNBOUNDED)).minimum
    if least > out.width:
        made.width = least
    if out.is_terminal:
        out.print(made, crop=False)
        return
    with out.capture() as rendered:
        out.print(made, crop=False)
    for line in rendered.get().splitlines():
        say(line.rstrip())  # without the blanks that fill up the last column


def quantity(value: float, unit: str = "") -> str:
    """`4.35 G`, `25.6 M`, `512`: three significant digits with a prefix."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{_digits(value / factor)} {prefix}{unit}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


class _Count(ProgressColumn):
    """`12/53`, nothing where the end is not known."""

    def __init__(self) -> None:
        super().__init__()
        self._count = MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else self._count.render(task)


class _Remaining(ProgressColumn):
    """The time left, nothing where the end is not known."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._remaining = TimeRemainingColumn()

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else Text("ETA ") + self._remaining.render(task)


@contextmanager
def progress() -> Iterator[Advance]:
    """A progress bar with an ETA on a terminal, a line a stage otherwise; always on standard error."""
    if not err.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeElapsedColumn(), _Remaining())
    with Progress(*columns, console=err, transient=True) as bar:
        current: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in current:
                for task in current.values():
                    bar.remove_task(task)
                current.clear()
                current[what] = bar.add_task(what, total=total or None)
            bar.update(current[what], completed=done, total=total or None)

        yield advance


def _plain_lines() -> Advance:
    said: dict[str, float] = {}
    begin = time.monotonic()

    def advance(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        # One line when a stage begins, then at most one every ten seconds.
        if what not in said or now - said[what] > 10:
            said[what] = now
            note(f"[{now - begin:.0f} s] {what}{f' {done}/{total}' if total and done else ''}")

    return advance
