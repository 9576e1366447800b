"""Latency of an artifact, alone or beside peers, in one interleaved run.

Every engine has its own process and the same threads, input and number of calls. In each round every engine has one
turn. The order rotates, and reverses after every full rotation, so that no engine keeps its place or predecessor.
Between turns the machine rests, because thread pools spin on for up to 110 ms after a call.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnnir.bench.engine import LoadRequest, TensorSpec
from cnnir.bench.machine import Machine, available_cores, describe
from cnnir.bench.peers import Peer
from cnnir.bench.process import WORKER, Worker
from cnnir.bench.stats import Ratio, Summary, ratio, summarize
from cnnir.errors import CnnirError
from cnnir.ir import Array
from cnnir.validate.numeric import BOUNDS, Deviation, compare

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Args:
        rounds: turns of each engine, at most.
        seconds: no round begins after so many seconds of measuring, except the first.
        calls: timed calls a turn.
        warmup: calls before the first turn; a turn begins with `turn_warmup` calls of its own, not timed.
        gap: rest between turns, in seconds.
        threads: for every engine; 0 for the cores available.
        batch: batch size of a network that leaves it open.
        seed: of the input and the bootstrap.
        timeout: longest answer of a worker, in seconds (Inductor compiles for minutes).
    """

    rounds: int = 20
    seconds: float = 60.0
    calls: int = 10
    warmup: int = 5
    turn_warmup: int = 2
    gap: float = 0.15
    threads: int = 0
    batch: int = 1
    seed: int = 0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        for name in ("rounds", "calls", "batch"):
            if getattr(self, name) < 1:
                raise CnnirError(f"Expected '{name}' of at least 1, got {getattr(self, name)}.")
        for name in ("warmup", "turn_warmup", "gap", "threads", "seconds", "seed"):
            if getattr(self, name) < 0:
                raise CnnirError(f"Expected '{name}' of at least 0, got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class Contender:
    """One engine of a run: what messages call it, what its worker loads, and the worker's program."""

    name: str
    request: LoadRequest
    command: Sequence[str] = WORKER


@dataclass(frozen=True, slots=True)
class PeerResult:
    """A peer's latencies in milliseconds, and ours over theirs."""

    name: str
    version: str
    precision: str
    summary: Summary
    ratio: Ratio
    deviation: Deviation
    agrees: bool | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "precision": self.precision,
            **_milliseconds(self.summary),
            "ratio_median": self.ratio.median,
            "ratio_interval": list(self.ratio.interval),
            "verdict": str(self.ratio.verdict),
            "noise": self.ratio.noise,
            "deviation": self.deviation.as_dict()["relative_rms"],
            "agrees": self.agrees,
        }


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one run measured."""

    summary: Summary
    version: str
    precision: str
    threads: int
    batch: int
    rounds: int
    calls: int
    machine: Machine
    against: tuple[PeerResult, ...] = ()
    round_medians: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON types; latencies in milliseconds, ratios ours over theirs."""
        return {
            **_milliseconds(self.summary),
            "version": self.version,
            "precision": self.precision,
            "threads": self.threads,
            "batch": self.batch,
            "rounds": self.rounds,
            "calls": self.calls,
            "machine": self.machine.as_dict(),
            "against": [peer.as_dict() for peer in self.against],
        }


def bench(
    artifact: Path,
    *,
    against: Sequence[Peer] = (),
    onnx: Path | None = None,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Latency of an artifact (or of an ONNX file, in ONNX Runtime), beside peers if there are any.

    Args:
        artifact: what `cnnir.runtime.load` takes, or a `.onnx` file.
        against: peers, which run the network of the file `onnx`.

    Raises:
        CnnirError: a peer that is not installed, a file that does not load, an engine that fails or does not
            answer, networks with other inputs or outputs.
    """
    for peer in against:
        peer.require()
    if against and onnx is None:
        raise CnnirError("Measuring against peers needs the network as an ONNX file.")
    plan = plan or Plan()
    threads = plan.threads or available_cores()
    engine = "onnxruntime" if artifact.suffix == ".onnx" else "cnnir"
    ours = Contender("cnnir", LoadRequest(engine, artifact, "fp32", threads))
    theirs = [Contender(str(p), LoadRequest(p.name, onnx, p.precision, threads)) for p in against if onnx]
    return measure(ours, theirs, plan=plan, progress=progress)


def measure(
    ours: Contender, theirs: Sequence[Contender] = (), *, plan: Plan, progress: Progress | None = None
) -> BenchResult:
    """Measures contenders side by side; see `bench` and the head of this file."""
    report = progress or (lambda what, done, total: None)
    machine = describe()
    threads = plan.threads or available_cores()
    contenders = [ours, *theirs]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cnnir-bench-")))
        workers = [stack.enter_context(Worker(c.name, threads, command=c.command)) for c in contenders]
        loaded = []
        for i, (worker, contender) in enumerate(zip(workers, contenders, strict=True)):
            report(f"loading {contender.name}", i, len(workers))
            loaded.append(worker.ask({"do": "load", **contender.request.as_dict()}, plan.timeout))
        batch = _write_inputs(contenders, loaded, plan, folder / "inputs.npz")
        results = []
        for i, (worker, contender) in enumerate(zip(workers, contenders, strict=True)):
            report(f"warming up {contender.name}", i, len(workers))
            results.append(_prepare(worker, folder / "inputs.npz", folder / f"outputs{i}.npz", plan))
        deviations = [_deviation(ours, c, results[0], r) for c, r in zip(theirs, results[1:], strict=True)]
        turns = _rounds(workers, plan, report)
    medians = [[float(np.median(turn)) for turn in engine] for engine in turns]
    summaries = [summarize([t for turn in engine for t in turn]) for engine in turns]
    precision = loaded[0]["precision"]
    peers = tuple(
        PeerResult(
            contender.request.engine,
            answer["version"],
            answer["precision"],
            summary,
            ratio(medians[0], theirs_medians, seed=plan.seed),
            difference,
            _agrees(difference, precision, answer["precision"]),
        )
        for contender, answer, summary, theirs_medians, difference in zip(
            theirs, loaded[1:], summaries[1:], medians[1:], deviations, strict=True
        )
    )
    return BenchResult(
        summaries[0],
        loaded[0]["version"],
        precision,
        threads,
        batch,
        len(turns[0]),
        plan.calls,
        machine,
        peers,
        {c.name: tuple(m) for c, m in zip(contenders, medians, strict=True)},
    )


def turn_order(engines: int) -> Iterator[list[int]]:
    """Endless orders of the engines: rotating by one each round, reversed after every full rotation."""
    start = list(range(engines))
    while True:
        for base in (start, start[::-1]):
            for shift in range(engines):
                yield base[shift:] + base[:shift]


def _rounds(workers: Sequence[Worker], plan: Plan, report: Progress) -> list[list[list[float]]]:
    """Times in milliseconds of every call, by engine and round."""
    turns: list[list[list[float]]] = [[] for _ in workers]
    begin = time.monotonic()
    for done, order in zip(range(plan.rounds), turn_order(len(workers)), strict=False):
        if done and time.monotonic() - begin >= plan.seconds:
            break
        report("measuring", done, plan.rounds)
        for i in order:
            time.sleep(plan.gap)
            request = {"do": "turn", "calls": plan.calls, "warmup": plan.turn_warmup}
            turns[i].append(workers[i].ask(request, plan.timeout)["times_ms"])
    report("measuring", plan.rounds, plan.rounds)
    return turns


def _write_inputs(contenders: Sequence[Contender], loaded: Sequence[dict[str, Any]], plan: Plan, path: Path) -> int:
    """Seeded inputs for the first engine's network, after a check that the others take the same; the batch size."""
    specs = [[TensorSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in answer["inputs"]] for answer in loaded]
    own = specs[0]
    shapes = [tuple(plan.batch if d < 0 else d for d in s.shape) for s in own]
    for contender, others in zip(contenders[1:], specs[1:], strict=True):
        if len(others) != len(own):
            raise CnnirError(f"'{contender.name}' has {len(others)} inputs, we have {len(own)}.")
        for other, shape in zip(others, shapes, strict=True):
            if len(other.shape) != len(shape) or any(
                d not in (-1, o) for d, o in zip(other.shape, shape, strict=True)
            ):
                raise CnnirError(
                    f"'{contender.name}' takes {list(other.shape)} for input '{other.name}', we take {list(shape)}."
                )
    rng = np.random.default_rng(plan.seed)
    arrays: dict[str, Any] = {
        str(i): _random(rng, s, shape) for i, (s, shape) in enumerate(zip(own, shapes, strict=True))
    }
    np.savez(path, **arrays)
    return shapes[0][0]


def _random(rng: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu":
        return rng.integers(0, 128, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _prepare(worker: Worker, inputs: Path, outputs: Path, plan: Plan) -> dict[str, Array]:
    worker.ask(
        {"do": "prepare", "inputs": str(inputs), "outputs": str(outputs), "warmup": plan.warmup}, plan.timeout
    )
    with np.load(outputs, allow_pickle=False) as archive:
        return {f"output {name}": archive[name] for name in archive.files}


def _deviation(ours: Contender, peer: Contender, own: dict[str, Array], other: dict[str, Array]) -> Deviation:
    try:
        return compare(own, other)
    except CnnirError as error:
        raise CnnirError(
            f"'{ours.name}' and '{peer.name}' do not run the same network.", notes=[error.message]
        ) from error


def _agrees(deviation: Deviation, own: str, other: str) -> bool | None:
    """Whether the outputs differ by no more than the two precisions may from the truth; `None` if unknown."""
    if own not in BOUNDS or other not in BOUNDS:
        return None
    return deviation.within(BOUNDS[own] + BOUNDS[other])


def _milliseconds(summary: Summary) -> dict[str, float]:
    return {
        "median_ms": summary.median,
        "p90_ms": summary.p90,
        "p99_ms": summary.p99,
        "min_ms": summary.min,
        "mean_ms": summary.mean,
    }
