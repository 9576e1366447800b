"""`cnnir compile`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnir.cli.console import note, print_json, progress, quantity, say
from cnnir.cli.options import (
    Batch,
    ClassOffset,
    Json,
    Passes,
    Precision,
    PreprocessName,
    Seed,
    Source,
    TargetName,
    Weights,
)
from cnnir.passes.pipeline import DEFAULT_PIPELINE

if TYPE_CHECKING:
    from cnnir.compiler import Compiled

OutputPath = Annotated[
    Path | None, typer.Option("-o", "--output", help="The artifact; by default NAME.cnnmod in this folder.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compile everything anew.")]


def compile(
    source: Source,
    target: TargetName = "x86",
    precision: Precision = "fp32",
    passes: Passes = DEFAULT_PIPELINE,
    weights: Weights = None,
    batch: Batch = 1,
    preprocess: PreprocessName = None,
    class_offset: ClassOffset = None,
    output: OutputPath = None,
    no_cache: NoCache = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compile a network, check the result against the float64 reference, and write one artifact."""
    # Late: TVM takes longer to load than `cnnir --help` takes to print.
    from cnnir.cache import Cache
    from cnnir.compiler import Options, check_destination, compile_source
    from cnnir.frontends.source import load

    options = Options(
        target=target,
        precision=precision,
        pipeline=passes,
        batch=batch,
        preprocess=preprocess,
        class_offset=class_offset or 0,
    )
    if output is not None:
        check_destination(output)
    with progress() as advance:
        advance("load", 0, 0)
        loaded = load(source, weights=weights, seed=seed)
        path = output or Path(f"{loaded.name}.cnnmod")
        compiled = compile_source(loaded, path, options, cache=None if no_cache else Cache(), progress=advance)
    if loaded.random_weights:
        note(f"no weights given: '{loaded.name}' is initialised at random, seed {seed}")
    for remark in compiled.notes:
        note(remark)
    if json:
        print_json(as_dict(compiled))
    else:
        report(compiled, compiled.path.stat().st_size)


def as_dict(compiled: Compiled) -> dict[str, object]:
    """The JSON of a compilation."""
    return {
        "artifact": str(compiled.path),
        "target": compiled.manifest.target,
        "precision": compiled.manifest.precision,
        "seconds": compiled.seconds,
        "passes": [record.as_dict() for record in compiled.records],
        "validation": compiled.manifest.validation,
        "plan": {k: v for k, v in (compiled.manifest.plan or {}).items() if k != "calls"},
        "notes": list(compiled.notes),
    }


def report(compiled: Compiled, size: int, *, name: str | None = None) -> None:
    """A few lines for people; `size` is the artifact's in bytes, `name` what to call it if not by its path."""
    manifest = compiled.manifest
    say(
        f"{name or compiled.path}: {manifest.model} for {manifest.target}, {manifest.precision}, "
        f"batch {manifest.batch}, {quantity(size, 'B')}, in {compiled.seconds:.1f} s"
    )
    plan = manifest.plan or {}
    arena, unplanned = plan.get("arena_bytes"), plan.get("unplanned_bytes")
    if isinstance(arena, int) and isinstance(unplanned, int):
        say(
            f"{plan['kernels']} kernels; activations in {quantity(arena, 'B')} "
            f"({quantity(unplanned, 'B')} without reuse)"
        )
    if compiled.deviation is not None:
        say(
            f"checked against the float64 reference: relative RMS error {compiled.deviation.relative_rms:.1e} "
            f"(at most {compiled.deviation.bound:.0e} allowed), largest {compiled.deviation.max_abs:.1e}"
        )
