"""`cnnir bench`: latency, alone or beside peers in one interleaved run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnir.cli.console import note, print_json, print_table, progress, say, warn
from cnnir.cli.options import (
    BATCH_HELP,
    PRECISION_HELP,
    SEED_HELP,
    TARGET_HELP,
    Json,
    OptionalPasses,
    Threads,
    Weights,
)
from cnnir.errors import CnnirError
from cnnir.passes.pipeline import DEFAULT_PIPELINE

if TYPE_CHECKING:
    from cnnir.bench import BenchResult, PeerResult
    from cnnir.frontends.source import Source
    from cnnir.manifest import Manifest

What = Annotated[str, typer.Argument(help="An artifact (.cnnmod), or a source that is compiled first.")]
Against = Annotated[
    str | None,
    typer.Option(
        "--against", help="Peers: onnxruntime, openvino, torch, inductor, each with an optional :precision."
    ),
]
SourceName = Annotated[
    str | None, typer.Option("--source", help="The network that an artifact was compiled from, for the peers.")
]


def bench(
    what: What,
    against: Against = None,
    source: SourceName = None,
    target: Annotated[str | None, typer.Option("--target", help=TARGET_HELP)] = None,
    precision: Annotated[str | None, typer.Option("--precision", help=PRECISION_HELP)] = None,
    passes: OptionalPasses = None,
    weights: Weights = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help=BATCH_HELP)] = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each engine.")] = 20,
    calls: Annotated[int, typer.Option("--calls", min=1, help="Timed calls a turn.")] = 10,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Begin no round after so long.")] = 60.0,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help=SEED_HELP)] = None,
    json: Json = False,
) -> None:
    """Measure latency; with --against, ours and the peers' in alternating turns, and their ratio."""
    # Late: TVM takes longer to load than `cnnir --help` takes to print.
    from cnnir.artifact import Artifact
    from cnnir.backends.onnx import save
    from cnnir.bench import Plan, parse_peers
    from cnnir.bench import bench as measure
    from cnnir.cache import Cache
    from cnnir.cli.compile import report as report_compiled
    from cnnir.compiler import Options, compile_source
    from cnnir.frontends.source import load

    peers = parse_peers(against) if against is not None else ()
    for peer in peers:
        peer.require()
    artifact = Path(what)
    _check_use(
        artifact,
        for_compiling={"--target": target, "--precision": precision, "--passes": passes, "--batch": batch},
        for_loading={"--weights": weights, "--seed": seed},
        source=source,
        peers=bool(peers),
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cnnir-bench-")))
        advance = stack.enter_context(progress())
        loaded: Source | None = None
        compiled = None
        if _is_artifact(artifact):
            manifest = Artifact.open(artifact).manifest
            if peers:
                advance("load", 0, 0)
                loaded = _source_of(artifact, manifest, source, weights, seed)
        else:
            options = Options(
                target=target or "x86",
                precision=precision or "fp32",
                pipeline=DEFAULT_PIPELINE if passes is None else passes,
                batch=batch or 1,
            )
            advance("load", 0, 0)
            loaded = load(what, weights=weights, seed=seed or 0)
            artifact = folder / "model.cnnmod"
            compiled = compile_source(loaded, artifact, options, cache=Cache(), progress=advance)
            manifest = compiled.manifest
        onnx = None
        if peers and loaded is not None:
            advance("export for the peers", 0, 0)
            onnx = folder / "peers.onnx"
            save(loaded.graph.clone(batch=manifest.batch), onnx)
        plan = Plan(rounds=rounds, seconds=seconds, calls=calls, threads=threads or 0, batch=manifest.batch)
        result = measure(artifact, against=peers, onnx=onnx, plan=plan, progress=advance)
        size = artifact.stat().st_size
    if compiled is not None and loaded is not None and loaded.random_weights:
        note(f"no weights given: '{loaded.name}' is initialised at random, seed {seed or 0}")
    for peer_result in result.against:
        for doubt in doubts(peer_result):
            warn(doubt)
    if json:
        print_json({"model": manifest.model, "target": manifest.target, "artifact_bytes": size, **result.as_dict()})
        return
    if compiled is not None:
        report_compiled(compiled, size, name=what)
    report(result)


def _is_artifact(path: Path) -> bool:
    return path.suffix == ".cnnmod"


def _check_use(
    what: Path,
    *,
    for_compiling: Mapping[str, object],
    for_loading: Mapping[str, object],
    source: str | None,
    peers: bool,
) -> None:
    """Refuses options that would have no effect."""
    if not _is_artifact(what):
        if source is not None:
            raise CnnirError(
                f"'--source' belongs to an artifact, and '{what}' is a source already.",
                hints=["Leave '--source' out."],
            )
        return
    for option, value in for_compiling.items():
        if value is not None:
            raise CnnirError(
                f"'{option}' has no effect on '{what}', which is compiled already.",
                hints=["Name the source instead of the artifact to compile it anew."],
            )
    if source is not None and not peers:
        raise CnnirError("'--source' is for the peers to run, and there are none.", hints=["Give '--against'."])
    for option, value in for_loading.items():
        if value is not None and source is None:
            raise CnnirError(f"'{option}' belongs to a source, and '{what}' is compiled already.")


def _source_of(
    artifact: Path, manifest: Manifest, source: str | None, weights: Path | None, seed: int | None
) -> Source:
    """The network that the peers run: what `--source` names, or the built-in one that the artifact came from.

    Raises:
        CnnirError: it is not known, or is another one than the artifact's (by the digest of the weights).
    """
    from cnnir.compiler import weights_digest
    from cnnir.frontends import zoo
    from cnnir.frontends.source import load

    origin = re.fullmatch(r"(?:random, seed (?P<seed>\d+)|.*), sha256 (?P<digest>[0-9a-f]+)", manifest.weights_from)
    stored_seed = int(origin["seed"]) if origin and origin["seed"] else None
    if source is None:
        if stored_seed is None or manifest.model not in zoo.names():
            raise CnnirError(
                f"The peers need the network that '{artifact}' was compiled from.",
                hints=[f"Name it with '--source' (it was '{manifest.model}', weights: {manifest.weights_from})."],
            )
        loaded = load(manifest.model, seed=stored_seed)
    else:
        loaded = load(source, weights=weights, seed=seed if seed is not None else stored_seed or 0)
    if origin is None or weights_digest(loaded.graph) != origin["digest"]:
        raise CnnirError(
            f"'{loaded.origin}' is not the network that '{artifact}' was compiled from: its weights differ.",
            notes=[f"The artifact's: {manifest.weights_from}."],
            hints=["Name the right one with '--source', and '--weights' or '--seed' where it had any."],
        )
    return loaded


def doubts(peer: PeerResult) -> list[str]:
    """Why the comparison with a peer may mean less than it seems to."""
    found = [f"{_engine(peer.name, peer.precision)}: {peer.ratio.noise}"] if peer.ratio.noise else []
    if peer.agrees is False:
        found.append(
            f"{_engine(peer.name, peer.precision)}: its outputs differ from ours by a relative RMS of "
            f"{peer.deviation.relative_rms:.1e}, more than the two precisions explain."
        )
    return found


def report(result: BenchResult) -> None:
    """The table for people."""
    ours = result.summary
    rows = [(_engine("cnnir", result.precision), *_times(ours.median, ours.p90, ours.p99), "", "", "")]
    for peer in result.against:
        low, high = peer.ratio.interval
        rows.append(
            (
                _engine(peer.name, peer.precision),
                *_times(peer.summary.median, peer.summary.p90, peer.summary.p99),
                f"{peer.ratio.median:.3f}",
                f"{low:.3f}-{high:.3f}",
                f"cnnir is {peer.ratio.verdict}"
                if peer.ratio.verdict in ("faster", "slower")
                else peer.ratio.verdict,
            )
        )
    print_table(["engine", ">median ms", ">p90", ">p99", ">ratio", ">95% interval", "?"], rows)
    versions = [f"cnnir {result.version}", *dict.fromkeys(f"{p.name} {p.version}" for p in result.against)]
    ratio = "ratio: our median over theirs; " if result.against else ""
    turns = f"{result.rounds} {'alternating ' if result.against else ''}round{'s'[: result.rounds - 1]}"
    say(
        f"{ratio}{turns} of {result.calls} calls, "
        f"{result.threads} thread{'s'[: result.threads - 1]}, batch {result.batch}"
    )
    say(f"{', '.join(versions)}; {result.machine.cpu}")


def _engine(name: str, precision: str) -> str:
    """As `--against` spells it."""
    return name if precision == "fp32" else f"{name}:{precision}"


def _times(*milliseconds: float) -> tuple[str, ...]:
    return tuple(f"{t:.3g}" if t < 10 else f"{t:.2f}" for t in milliseconds)
