"""Runs a pipeline and keeps, for every pass, its record and what it did to text, cost, memory and numbers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cnnir.analysis import graph_cost, memory_use, receptive_field, receptive_fields
from cnnir.errors import CnnirError
from cnnir.inspect.latency import Latencies
from cnnir.inspect.numerics import Change, Feeds, Observation, Progress, change, node_errors, observe
from cnnir.ir import Graph
from cnnir.ir.text import print_graph
from cnnir.passes.base import Pass
from cnnir.passes.manager import Instrument, PassManager, PassRecord
from cnnir.passes.pipeline import format_pipeline
from cnnir.validate.numeric import ValidationError


@dataclass(frozen=True, slots=True)
class Size:
    """How large a graph is, at batch 1.

    `bytes` is all memory traffic, `peak_activation_bytes` the most that is alive at once. `receptive_field` is
    (height, width) of the farthest-seeing feature map, `output_fields` those of the outputs; in a graph without
    images, or with images of several sizes, there are none.
    """

    nodes: int
    params: int
    macs: int
    flops: int
    bytes: int
    activation_bytes: int
    peak_activation_bytes: int
    receptive_field: tuple[int, int] | None
    output_fields: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, graph: Graph) -> Size:
        total, memory = graph_cost(graph).total, memory_use(graph)
        try:
            fields = {name: f.size for name, f in receptive_fields(graph).items()}
            sees = receptive_field(graph) if fields else None
        except CnnirError:
            fields, sees = {}, None
        outputs = {name: fields[v.name] for name, v in graph.outputs.items() if v.name in fields}
        arithmetic = total.params, total.macs, total.flops, total.bytes
        return cls(len(graph.nodes), *arithmetic, memory.activations, memory.peak, sees, outputs)


@dataclass(frozen=True)
class State:
    """The network at one point of the pipeline.

    `total` is its deviation from the source, `errors` that of every node (see `node_errors`); both are empty where
    nothing was run.
    """

    graph: Graph
    text: str
    size: Size
    total: Change | None = None
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PassView:
    """One run of a pass: `before` and `after` are places in `Inspection.states`, equal if it changed nothing.

    `diff` is the unified diff of the text form; `change` the deviation of the outputs after from those before.
    """

    record: PassRecord
    before: int
    after: int
    diff: str = ""
    change: Change | None = None


@dataclass(frozen=True)
class Inspection:
    """A pipeline's run. `images` were put through the reference in float64, `data` says which."""

    name: str
    pipeline: str
    views: tuple[PassView, ...]
    states: tuple[State, ...]
    images: int = 0
    data: str = ""
    notes: tuple[str, ...] = ()
    latencies: Latencies | None = None
    origin: str = ""
    weights_from: str = ""

    def with_latencies(self, latencies: Latencies) -> Inspection:
        return replace(self, latencies=latencies)

    def as_dict(self) -> dict[str, Any]:
        """JSON types. Sizes are at batch 1, latencies in milliseconds, fields (height, width)."""
        total = self.states[-1].total
        return {
            "name": self.name,
            "source": self.origin,
            "weights": self.weights_from,
            "pipeline": self.pipeline,
            "data": self.data,
            "images": self.images,
            "before": asdict(self.states[0].size),
            "after": asdict(self.states[-1].size),
            "deviation": None if total is None else total.as_dict(),
            "seconds": sum(v.record.seconds for v in self.views),
            "latency": None if self.latencies is None else self.latencies.as_dict(0, len(self.states) - 1),
            "passes": [self._view(view) for view in self.views],
            "notes": list(self.notes),
        }

    def _view(self, view: PassView) -> dict[str, Any]:
        before, after = self.states[view.before].size, self.states[view.after].size
        measured = self.latencies if view.before != view.after else None
        total = self.states[view.after].total
        return {
            **view.record.as_dict(),
            "before": asdict(before),
            "after": asdict(after),
            "delta": delta(before, after),
            "deviation": None if view.change is None else view.change.as_dict(),
            "deviation_from_source": None if total is None else total.as_dict(),
            "latency": None if measured is None else measured.as_dict(view.before, view.after),
            "diff": view.diff,
        }


def delta(before: Size, after: Size) -> dict[str, int]:
    """What changed in the figures that are numbers; negative is a saving."""
    a, b = asdict(before), asdict(after)
    return {name: b[name] - a[name] for name in a if isinstance(a[name], int)}


class _Watcher(Instrument):
    def __init__(self, graph: Graph, feeds: Sequence[Feeds], progress: Progress) -> None:
        self.views: list[PassView] = []
        self.notes: list[str] = []
        self._feeds, self._progress = feeds, progress
        self._source = graph.clone()
        first = self._observe(self._source, "source")
        self._at_source = self._last = first
        total = None if first is None else self._change("source", first, first)
        errors = {} if first is None else dict.fromkeys((n.name for n in graph.nodes), 0.0)
        self.states = [State(self._source, print_graph(graph), Size.of(graph), total, errors)]

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        at = len(self.states) - 1
        if not record.changed:
            self.views.append(PassView(record, at, at))
            return
        text, copy = print_graph(graph), graph.clone()
        lines = self.states[at].text.splitlines(), text.splitlines()
        diff = "\n".join(difflib.unified_diff(*lines, "before", "after", lineterm="", n=1))
        now = self._observe(copy, record.name)
        step, total, errors = None, None, dict[str, float]()
        if now is not None and self._last is not None and self._at_source is not None:
            step = self._change(record.name, self._last, now)
            total = self._change(record.name, self._at_source, now)
            errors = node_errors(self._source, self._at_source, copy, now)
        self._last = now
        self.states.append(State(copy, text, Size.of(copy), total, errors))
        self.views.append(PassView(record, at, at + 1, diff, step))

    def _observe(self, graph: Graph, where: str) -> Observation | None:
        return observe(graph, self._feeds, self._progress, f"reference: {where}") if self._feeds else None

    def _change(self, where: str, before: Observation, after: Observation) -> Change | None:
        try:
            return change(before, after)
        except ValidationError as error:
            note = f"{where}: no deviation, {error.message}"
            if note not in self.notes:
                self.notes.append(note)
            return None


def inspect_pipeline(
    graph: Graph,
    passes: Sequence[Pass],
    *,
    feeds: Sequence[Feeds] = (),
    data: str = "",
    instruments: Sequence[Instrument] = (),
    progress: Progress = lambda what, done, total: None,
) -> Inspection:
    """Runs `passes` on a copy of `graph`; one view for each run of a pass (a `Repeat` has many).

    Args:
        feeds: batches of inputs for the float64 reference; without any no number is compared.
        data: what the feeds are, in words.
        instruments: more of them, such as `DumpReproducer`.

    Raises:
        CnnirError: what the pass manager has to say.
    """
    copy = graph.clone()
    watcher = _Watcher(copy, feeds, progress)
    PassManager(passes, [*instruments, watcher]).run(copy)
    images = sum(len(next(iter(batch.values()))) for batch in feeds if batch)
    return Inspection(
        graph.name,
        format_pipeline(tuple(passes)),
        tuple(watcher.views),
        tuple(watcher.states),
        images,
        data,
        tuple(watcher.notes),
    )
