"""Instruments of the pass manager: timing, printing, diffs, cost, numeric deviation, reproducers."""

from __future__ import annotations

import difflib
import re
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from cnnir.analysis import graph_cost
from cnnir.errors import CnnirError
from cnnir.ir import Array, Graph
from cnnir.ir.text import print_graph, save_graph
from cnnir.passes.base import Pass, Promise
from cnnir.passes.manager import Instrument, PassRecord
from cnnir.passes.pipeline import format_pipeline

Evaluator = Callable[[Graph], Mapping[str, Array]]
"""Runs a graph on fixed inputs and gives its outputs by name; best in float64."""


class ContractError(CnnirError):
    """A pass whose result differs from its input by more than its contract allows."""

    exit_code = 1


class Timing(Instrument):
    """Adds up the seconds of each pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        self.seconds[record.name] = self.seconds.get(record.name, 0.0) + record.seconds

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


class PrintAfterChange(Instrument):
    """Writes the text form after each pass that changed something."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        if record.changed:
            self._to.write(f"# after {format_pipeline((p,))}\n{print_graph(graph)}\n")


class TextDiff(Instrument):
    """Writes a unified diff of the text form for each pass that changed something."""

    def __init__(self, to: TextIO, *, context: int = 1) -> None:
        self._to = to
        self._context = context
        self._before: list[str] = []

    def start(self, graph: Graph, passes: Sequence[Pass]) -> None:
        self._before = print_graph(graph).splitlines(keepends=True)

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        if not record.changed:
            return
        now = print_graph(graph).splitlines(keepends=True)
        name = format_pipeline((p,))
        self._to.writelines(
            difflib.unified_diff(self._before, now, f"before {name}", f"after {name}", n=self._context)
        )
        self._before = now


@dataclass(frozen=True, slots=True)
class CostDelta:
    """By how much a pass changed the cost of one run at batch 1; negative is a saving."""

    name: str
    nodes: int
    params: int
    macs: int
    flops: int
    bytes: int


@dataclass
class CostDeltas(Instrument):
    """What each pass that changed something did to nodes, parameters, arithmetic and memory traffic."""

    deltas: list[CostDelta] = field(default_factory=list)
    _last: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)

    def start(self, graph: Graph, passes: Sequence[Pass]) -> None:
        self._last = _figures(graph)

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        if not record.changed:
            return
        now = _figures(graph)
        self.deltas.append(CostDelta(record.name, *(a - b for a, b in zip(now, self._last, strict=True))))
        self._last = now


def _figures(graph: Graph) -> tuple[int, int, int, int, int]:
    total = graph_cost(graph).total
    return len(graph.nodes), total.params, total.macs, total.flops, total.bytes


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a pass moved the outputs: the worst of them, relative to its largest element before the pass."""

    name: str
    output: str
    relative: float


class NumericCheck(Instrument):
    """Runs the graph before the first pass and after each that changed something, and holds each to its contract.

    The measure is `max |after - before| / max |before|` over an output, the worst output counting; a change from
    finite to not finite is infinite. Exact passes may move it by `tolerance`: folded weights are rounded once more,
    by u = 2^-24 each in float32, so the output moves by a small multiple of `u * depth`, far below the default.

    Args:
        evaluate: see `Evaluator`; it must use the same inputs every time.
        tolerance: for exact passes. Approximate passes with the metric `relative_max` have their own bound.
    """

    def __init__(self, evaluate: Evaluator, *, tolerance: float = 1e-5) -> None:
        self._evaluate = evaluate
        self._tolerance = tolerance
        self._before: Mapping[str, Array] = {}
        self.deviations: list[Deviation] = []

    def start(self, graph: Graph, passes: Sequence[Pass]) -> None:
        self._before = self._evaluate(graph)

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        if not record.changed:
            return
        now = self._evaluate(graph)
        worst = max(
            (Deviation(record.name, name, _relative(self._before[name], now[name])) for name in self._before),
            key=lambda d: d.relative,
        )
        self.deviations.append(worst)
        self._before = now
        bound = self._bound(record)
        if bound is not None and not worst.relative <= bound:
            raise ContractError(
                f"Pass '{record.name}' promises to be {record.contract}, but moved output '{worst.output}' "
                f"by {worst.relative:.3g} of its largest element, more than {bound:g}.",
                at=f"graph '{graph.name}'",
            )

    def _bound(self, record: PassRecord) -> float | None:
        contract = record.contract
        if contract.promise is Promise.EXACT:
            return self._tolerance
        return contract.bound if contract.metric == "relative_max" else None


def _relative(before: Array, after: Array) -> float:
    a, b = before.astype(np.float64), after.astype(np.float64)
    if a.shape != b.shape:
        return float("inf")
    if a.size == 0 or np.array_equal(a, b, equal_nan=True):
        return 0.0
    with np.errstate(invalid="ignore"):
        # Equal infinities differ by nothing, NaN from NaN too.
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        difference = float(np.max(np.where(same, 0.0, np.abs(a - b))))
    scale = float(np.max(np.abs(np.where(np.isfinite(a), a, 0.0))))
    if np.isnan(difference):
        return float("inf")
    return difference / scale if scale else float("inf")


class DumpReproducer(Instrument):
    """On failure leaves a folder with the graph as the pass found it, the pipeline, the error and the command.

    Args:
        dump_dir: where the folder is made; a fresh temporary one if not given.
    """

    def __init__(self, dump_dir: Path | None = None) -> None:
        self._dir = dump_dir
        self._graph: Graph | None = None

    def before(self, p: Pass, graph: Graph) -> None:
        # Shares the weights, and building the nodes again takes milliseconds.
        self._graph = graph.clone()

    def failed(self, p: Pass, graph: Graph, error: Exception) -> str | None:
        if self._graph is None:
            return None
        folder = self._folder(p)
        pipeline = format_pipeline((p,))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_graph(self._graph, folder / "before.cnnir")
            trace = "".join(traceback.format_exception(error))
            (folder / "error.txt").write_text(trace, encoding="utf-8")
            (folder / "pipeline.txt").write_text(pipeline + "\n", encoding="utf-8")
            command = f"cnnir inspect before.cnnir --passes '{pipeline}'"
            (folder / "command.txt").write_text(command + "\n", encoding="utf-8")
        except (OSError, CnnirError) as problem:
            return f"No reproducer could be written to '{folder}': {problem}"
        return f"Please report it with the folder '{folder}', in which '{command}' fails in the same way."

    def _folder(self, p: Pass) -> Path:
        if self._dir is None:
            self._dir = Path(tempfile.mkdtemp(prefix="cnnir-reproducer-"))
        name = re.sub(r"\W+", "-", self._graph.name if self._graph else "").strip("-")
        return self._dir / f"{name}-{p.name}" if name else self._dir / p.name
