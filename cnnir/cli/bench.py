"""`cnnir bench`: latency, alone or beside peers in one interleaved run."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cnnir.artifact import Artifact as ArtifactFile
from cnnir.backends.onnx import save
from cnnir.bench import BenchResult, Plan, parse_peers
from cnnir.bench import bench as measure
from cnnir.cache import Cache
from cnnir.cli.compile import report as report_compiled
from cnnir.cli.console import err, out, print_json, progress, table
from cnnir.cli.options import Batch, Json, Passes, Precision, Seed, TargetName, Threads, Weights
from cnnir.compiler import DEFAULT_PIPELINE, Options, compile_source
from cnnir.errors import CnnirError
from cnnir.frontends.source import Source, load

What = Annotated[str, typer.Argument(help="An artifact (.cnnmod), or a source that is compiled first.")]
Against = Annotated[
    str | None,
    typer.Option("--against", help="Peers: onnxruntime, openvino, torch, inductor, each with an optional :precision."),
]
SourceName = Annotated[
    str | None, typer.Option("--source", help="The network of the artifact, for the peers to run.")
]


def bench(
    what: What,
    against: Against = None,
    source: SourceName = None,
    target: TargetName = "x86",
    precision: Precision = "fp32",
    passes: Passes = None,
    weights: Weights = None,
    batch: Batch = 1,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each engine.")] = 20,
    calls: Annotated[int, typer.Option("--calls", min=1, help="Timed calls a turn.")] = 10,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Begin no round after so long.")] = 60.0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure latency; with --against, ours and the peers' in alternating turns, and their ratio."""
    peers = parse_peers(against) if against else ()
    for peer in peers:
        peer.require()
    artifact = Path(what)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cnnir-bench-")))
        advance = stack.enter_context(progress())
        loaded: Source | None = None
        compiled = None
        if artifact.suffix == ".cnnmod":
            if peers:
                loaded = _source_of(artifact, source, weights)
                batch = ArtifactFile.open(artifact, check_cpu=False).manifest.batch
        else:
            advance("load", 0, 0)
            loaded = load(what, weights=weights, seed=seed)
            artifact = folder / f"{loaded.name}.cnnmod"
            options = Options(target, precision, DEFAULT_PIPELINE if passes is None else passes, batch)
            compiled = compile_source(loaded, artifact, options, cache=Cache(), progress=advance)
        onnx = None
        if peers and loaded is not None:
            onnx = folder / "peers.onnx"
            save(loaded.graph.clone(batch=batch), onnx)
        plan = Plan(rounds=rounds, seconds=seconds, calls=calls, threads=threads or 0, batch=batch, seed=seed)
        result = measure(artifact, against=peers, onnx=onnx, plan=plan, progress=advance)
        size = artifact.stat().st_size
    if loaded is not None and loaded.random_weights:
        err.print(f"no weights given: '{loaded.name}' is initialised at random")
    if json:
        print_json({"model": loaded.name if loaded else what, "artifact_bytes": size, **result.as_dict()})
        return
    if compiled is not None:
        report_compiled(compiled, size)
    report(result)


def _source_of(artifact: Path, source: str | None, weights: Path | None) -> Source:
    """The network that the peers run: what `--source` names, or the built-in one that the artifact came from."""
    if source is not None:
        return load(source, weights=weights)
    manifest = ArtifactFile.open(artifact, check_cpu=False).manifest
    if not manifest.weights_from.startswith("random, seed "):
        raise CnnirError(
            f"The peers need the network that '{artifact}' was compiled from.",
            hints=[f"Name it with --source (weights: {manifest.weights_from})."],
        )
    return load(manifest.model, seed=int(manifest.weights_from.removeprefix("random, seed ")))


def report(result: BenchResult) -> None:
    """The table for people."""
    ours = result.summary
    rows = [("cnnir", result.version, result.precision, *_times(ours.median, ours.p90, ours.p99), "", "", "")]
    for peer in result.against:
        low, high = peer.ratio.interval
        rows.append(
            (
                peer.name,
                peer.version,
                peer.precision,
                *_times(peer.summary.median, peer.summary.p90, peer.summary.p99),
                f"{peer.ratio.median:.3f}",
                f"{low:.3f} to {high:.3f}",
                str(peer.ratio.verdict),
            )
        )
    columns = ["engine", "version", "precision", ">median ms", ">p90", ">p99", ">ours/theirs", "95% interval", ""]
    out.print(table(columns, rows))
    out.print(
        f"{result.rounds} alternating rounds of {result.calls} calls, {result.threads} threads, "
        f"batch {result.batch}, {result.machine.cpu}"
    )


def _times(*milliseconds: float) -> tuple[str, ...]:
    return tuple(f"{t:.2f}" for t in milliseconds)
