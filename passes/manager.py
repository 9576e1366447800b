"""Runs passes one after the other, verifies the graph after each, and keeps a record of everything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cnnir.errors import CnnirError, VerificationError
from cnnir.ir import Graph, TensorType
from cnnir.passes.base import Contract, Pass, Remark, Repeat, Report
from cnnir.passes.pipeline import format_pipeline


@dataclass(frozen=True)
class PassRecord:
    """What one run of one pass did. `seconds` is the pass alone, without verification and instruments."""

    name: str
    options: str
    contract: Contract
    seconds: float
    changed: bool
    rewrote: tuple[Remark, ...]
    declined: tuple[Remark, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "options": self.options,
            "contract": str(self.contract),
            "seconds": self.seconds,
            "changed": self.changed,
            "rewrote": [{"node": r.node, "what": r.text} for r in self.rewrote],
            "declined": [{"node": r.node, "reason": r.text} for r in self.declined],
        }


class PassError(CnnirError):
    """A pass that crashed or left a broken graph behind: a bug, never the user's mistake."""

    exit_code = 1


class Instrument:
    """Watches the manager at work. Instruments never change the graph."""

    def start(self, graph: Graph, passes: Sequence[Pass]) -> None:
        """Before the first pass."""

    def before(self, p: Pass, graph: Graph) -> None:
        """Before a pass."""

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        """After a pass whose result was verified. A `CnnirError` raised here ends the run."""

    def failed(self, p: Pass, graph: Graph, error: Exception) -> str | None:
        """After a pass that failed, with the graph as the pass left it; may return a hint for the user."""
        return None


class PassManager:
    """Runs a pipeline.

    Args:
        passes: in order; a `Repeat` is unfolded into its members, each of which gets records of its own.
        instruments: called in order before, and in reverse order after each pass.
        verify: check all invariants of the graph after each pass that changed something.
    """

    def __init__(self, passes: Sequence[Pass], instruments: Sequence[Instrument] = (), verify: bool = True) -> None:
        self.passes = tuple(passes)
        self.instruments = tuple(instruments)
        self.verify = verify

    def run(self, graph: Graph) -> list[PassRecord]:
        """Rewrites `graph` in place.

        Raises:
            PassError: a pass raised something that is no `CnnirError`, broke an invariant of the IR, or changed
                names, order, shapes or element types of inputs or outputs.
            CnnirError: what a pass or an instrument has to say to the user.
        """
        for instrument in self.instruments:
            instrument.start(graph, self.passes)
        records: list[PassRecord] = []
        for p in self.passes:
            if isinstance(p, Repeat):
                records += self._repeat(p, graph)
            else:
                records.append(self._run_one(p, graph))
        return records

    def _repeat(self, repeat: Repeat, graph: Graph) -> list[PassRecord]:
        records: list[PassRecord] = []
        for i, members in enumerate(repeat.rounds()):
            new = [self._run_one(p, graph) for p in members]
            # A later round that did nothing only repeats what is already on record.
            records += new if i == 0 else [r for r in new if r.changed]
            if not any(r.changed for r in new):
                break
        return records

    def _run_one(self, p: Pass, graph: Graph) -> PassRecord:
        for instrument in self.instruments:
            instrument.before(p, graph)
        signature = _signature(graph)
        report = Report()
        start = time.perf_counter()
        try:
            p.run(graph, report)
            seconds = time.perf_counter() - start
            if self.verify and report.changed:
                graph.verify()
            _check_signature(signature, _signature(graph))
        except Exception as error:
            raise self._failure(p, graph, error) from error
        text = format_pipeline((p,))
        options = text.removeprefix(p.name).strip("{}")
        record = PassRecord(
            p.name,
            options,
            p.promise(),
            seconds,
            report.changed,
            tuple(report.rewrites),
            tuple(report.declines),
        )
        for instrument in reversed(self.instruments):
            instrument.after(p, graph, record)
        return record

    def _failure(self, p: Pass, graph: Graph, error: Exception) -> CnnirError:
        if isinstance(error, CnnirError) and not isinstance(error, VerificationError):
            return error
        hints = [hint for i in self.instruments if (hint := i.failed(p, graph, error))]
        what = str(error) if isinstance(error, VerificationError) else f"{type(error).__name__}: {error}"
        return PassError(f"Pass '{p.name}' failed on graph '{graph.name}': {what}", hints=hints)


_Signature = tuple[tuple[tuple[str, TensorType], ...], tuple[tuple[str, TensorType], ...]]


def _signature(graph: Graph) -> _Signature:
    return (
        tuple((v.name, v.type) for v in graph.inputs),
        tuple((name, v.type) for name, v in graph.outputs.items()),
    )


def _check_signature(before: _Signature, after: _Signature) -> None:
    for kind, old, new in zip(("inputs", "outputs"), before, after, strict=True):
        if old != new:
            shown = [", ".join(f"'{name}' {type}" for name, type in side) for side in (old, new)]
            raise VerificationError(f"The graph's {kind} changed: expected {shown[0]}, got {shown[1]}.")
