"""Latency of the compiled network at every point of a pipeline, all of them interleaved in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnir.bench.engine import LoadRequest
from cnnir.bench.latency import Contender, Plan, measure
from cnnir.bench.machine import available_cores
from cnnir.bench.stats import Ratio, ratio, summarize
from cnnir.cache import Cache
from cnnir.errors import CnnirError
from cnnir.frontends.source import Source
from cnnir.ir import Graph

if TYPE_CHECKING:
    from cnnir.compiler import Options


@dataclass(frozen=True)
class Latencies:
    """Medians in milliseconds of every round by state; a state that cannot be compiled has a reason instead."""

    rounds: Mapping[int, tuple[float, ...]]
    reasons: Mapping[int, str]
    threads: int
    machine: str
    seed: int = 0

    def median(self, state: int) -> float | None:
        """Milliseconds."""
        return summarize(self.rounds[state]).median if state in self.rounds else None

    def ratio(self, before: int, after: int) -> Ratio | None:
        """Latency after over latency before, from the medians of the same rounds."""
        if before not in self.rounds or after not in self.rounds:
            return None
        return ratio(self.rounds[after], self.rounds[before], seed=self.seed)

    def as_dict(self, before: int, after: int) -> dict[str, Any]:
        compared = self.ratio(before, after)
        return {
            "before_ms": self.median(before),
            "after_ms": self.median(after),
            "ratio": None if compared is None else compared.median,
            "ratio_interval": None if compared is None else list(compared.interval),
            "verdict": None if compared is None else str(compared.verdict),
            "noise": "" if compared is None else compared.noise,
            "not_measured": [self.reasons[s] for s in (before, after) if s in self.reasons],
            "threads": self.threads,
            "machine": self.machine,
        }


def measure_states(
    source: Source,
    graphs: Sequence[Graph],
    *,
    options: Options | None = None,
    plan: Plan | None = None,
    cache: Cache | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Latencies:
    """Compiles each graph as it is, only with what the target itself needs, and measures them side by side.

    Args:
        source: whose graph each of `graphs` takes the place of.
        options: target, precision and batch; the pipeline is left out.

    Raises:
        CnnirError: none of the graphs can be compiled, or a measurement fails.
    """
    # Late: TVM takes longer to load than most inspections take.
    from cnnir.compiler import Options, compile_source

    options = replace(options or Options(), pipeline="none")
    plan = plan or Plan()
    threads = plan.threads or available_cores()
    reasons: dict[int, str] = {}
    contenders: list[tuple[int, Contender]] = []
    with tempfile.TemporaryDirectory(prefix="cnnir-inspect-") as folder:
        for i, graph in enumerate(graphs):
            path = Path(folder, f"{i}.cnnmod")
            progress("compile", i, len(graphs))
            try:
                compile_source(replace(source, graph=graph), path, options, cache=cache)
            except CnnirError as error:
                reasons[i] = str(error)
                continue
            name = f"state {i}"
            contenders.append((i, Contender(name, LoadRequest("cnnir", path, options.precision, threads))))
        if not contenders:
            raise CnnirError("No point of the pipeline can be compiled.", notes=[reasons[0]])
        first, *others = (c for _, c in contenders)
        result = measure(first, others, plan=plan, progress=progress)
    rounds = {i: result.round_medians[c.name] for i, c in contenders}
    return Latencies(rounds, reasons, threads, result.machine.cpu, plan.seed)
