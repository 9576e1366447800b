"""Runs a pipeline and keeps, for every pass, its record, the cost before and after, and the diff of the text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cnnir.analysis.cost import graph_cost
from cnnir.ir import Graph
from cnnir.ir.text import print_graph
from cnnir.passes.base import Pass
from cnnir.passes.manager import Instrument, PassManager, PassRecord


@dataclass(frozen=True, slots=True)
class Size:
    """How large a graph is."""

    nodes: int
    params: int
    macs: int
    flops: int
    bytes: int

    @classmethod
    def of(cls, graph: Graph) -> Size:
        total = graph_cost(graph).total
        return cls(len(graph.nodes), total.params, total.macs, total.flops, total.bytes)


@dataclass(frozen=True, slots=True)
class PassView:
    """One pass of a run: its record, the graph's size before and after, the unified diff of the text form."""

    record: PassRecord
    before: Size
    after: Size
    diff: str

    def as_dict(self) -> dict[str, object]:
        return {
            **self.record.as_dict(),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "diff": self.diff,
        }


class _Watcher(Instrument):
    def __init__(self, graph: Graph) -> None:
        self.views: list[PassView] = []
        self._size = Size.of(graph)
        self._text = print_graph(graph).splitlines()

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        size, text, diff = self._size, self._text, ""
        if record.changed:
            size, text = Size.of(graph), print_graph(graph).splitlines()
            diff = "\n".join(difflib.unified_diff(self._text, text, "before", "after", lineterm="", n=1))
        self.views.append(PassView(record, self._size, size, diff))
        self._size, self._text = size, text


def inspect_pipeline(graph: Graph, passes: Sequence[Pass]) -> list[PassView]:
    """Runs `passes` on a copy of `graph`; one view for each run of a pass (a `Repeat` has many)."""
    copy = graph.clone()
    watcher = _Watcher(copy)
    PassManager(passes, [watcher]).run(copy)
    return watcher.views
