"""What commands print with: tables and progress for people, one JSON object for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Advance = Callable[[str, int, int], None]
"""Progress callback: what is being done, how much is done, of how much (0 when unknown)."""


def print_json(value: object) -> None:
    """Writes one JSON document to standard output, and nothing else."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def _finite(value: object) -> object:
    """JSON has no NaN or infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A table; columns whose name begins with `>` are right-aligned."""
    result = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        result.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(str(cell) for cell in row))
    return result


def quantity(value: float, unit: str = "") -> str:
    """`4.35 G`, `25.6 M`, `512`: three significant digits with a prefix."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Advance]:
    """A progress bar with an ETA on a terminal, a line a stage otherwise; always on standard error."""
    if quiet:
        yield lambda what, done, total: None
    elif err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            tasks: dict[str, object] = {}

            def advance(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    for task in bar.tasks:
                        bar.remove_task(task.id)
                    tasks.clear()
                    tasks[what] = bar.add_task(what, total=total or None)
                bar.update(tasks[what], completed=done, total=total or None)  # type: ignore[arg-type]  # TaskID

            yield advance
    else:
        yield _plain_lines()


def _plain_lines() -> Advance:
    said: dict[str, float] = {}

    def advance(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        # One line when a stage begins, then at most one every ten seconds.
        if what not in said or now - said[what] > 10:
            said[what] = now
            err.print(f"{what} {done}/{total}" if total and done else what, markup=False)

    return advance
