"""What a pass is: options as fields of a frozen dataclass, a contract, a report of what it did and declined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from cnnir.errors import VerificationError
from cnnir.ir import Graph


class Promise(StrEnum):
    """What a pass promises about the function that the network computes."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    RETRAIN = "retrain"


@dataclass(frozen=True, slots=True)
class Contract:
    """A promise, with the metric and its bound where the promise is an approximation."""

    promise: Promise
    metric: str = ""
    bound: float = 0.0

    def __str__(self) -> str:
        return f"{self.promise}({self.metric} <= {self.bound:g})" if self.metric else str(self.promise)


EXACT = Contract(Promise.EXACT)
"""The same function up to the rounding of the element type."""

RETRAIN = Contract(Promise.RETRAIN)
"""The architecture changes: weights of the untouched part are kept, accuracy must be recovered by training."""


def approximate(metric: str, bound: float) -> Contract:
    """Trained weights are carried over with an error of at most `bound` in `metric`."""
    if not metric or not bound > 0:
        raise ValueError(f"an approximation needs a metric and a positive bound, got '{metric}' and {bound}")
    return Contract(Promise.APPROXIMATE, metric, bound)


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of a report: the node it is about, and what was done to it or why nothing was."""

    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.node}: {self.text}"


@dataclass
class Report:
    """What one run of a pass rewrote and what it declined, with the reason."""

    rewrites: list[Remark] = field(default_factory=list)
    declines: list[Remark] = field(default_factory=list)

    def rewrote(self, node_name: str, what: str) -> None:
        self.rewrites.append(Remark(node_name, what))

    def declined(self, node_name: str, reason: str) -> None:
        self.declines.append(Remark(node_name, reason))

    @property
    def changed(self) -> bool:
        return bool(self.rewrites)


@dataclass(frozen=True)
class Pass(ABC):
    """Rewrites a graph in place. Subclasses are frozen dataclasses: every field is an option with a default."""

    name: ClassVar[str]
    contract: ClassVar[Contract]
    source: ClassVar[str] = ""

    @abstractmethod
    def run(self, graph: Graph, report: Report) -> None:
        """Mutates `graph`; everything it did, and everything that it nearly did, goes on `report`."""

    def promise(self) -> Contract:
        """The contract of this instance: override where an option sets the bound."""
        return self.contract


_MAX_ROUNDS = 32
"""Three are usual; a limit keeps two passes that undo each other from running for ever."""


@dataclass(frozen=True)
class Repeat(Pass):
    """Runs several exact passes in turn until a whole round changes nothing.

    Needed where each of them uncovers work for another (a folded scale brings a padding next to a convolution,
    a folded padding brings a scale next to it). The pass manager runs the members itself, so that
    each is verified, timed and reported on its own.
    """

    passes: tuple[Pass, ...] = ()

    name: ClassVar[str] = "repeat"
    contract: ClassVar[Contract] = EXACT

    def __post_init__(self) -> None:
        if not self.passes or any(p.contract != EXACT for p in self.passes):
            raise ValueError("only exact passes can be repeated, and at least one is needed")

    def rounds(self) -> Iterator[tuple[Pass, ...]]:
        """The members, once a round; the caller stops when a round has changed nothing."""
        for _ in range(_MAX_ROUNDS):
            yield self.passes
        names = ", ".join(p.name for p in self.passes)
        raise VerificationError(f"The passes {names} still change something after {_MAX_ROUNDS} rounds.")

    def run(self, graph: Graph, report: Report) -> None:
        for members in self.rounds():
            round_report = Report()
            for member in members:
                member.run(graph, round_report)
            report.rewrites += round_report.rewrites
            report.declines = round_report.declines
            if not round_report.changed:
                return
