"""`cnnir compile`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnir.cache import Cache
from cnnir.cli.console import err, out, print_json, progress, quantity
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
from cnnir.cli.preprocessing import preprocess_of_graph
from cnnir.compiler import DEFAULT_PIPELINE, Compiled, Options, compile_source
from cnnir.frontends.source import load

OutputPath = Annotated[
    Path | None, typer.Option("-o", "--output", help="The artifact; by default NAME.cnnmod in this folder.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compile everything anew.")]


def compile(
    source: Source,
    target: TargetName = "x86",
    precision: Precision = "fp32",
    passes: Passes = None,
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
    with progress() as advance:
        advance("load", 0, 0)
        loaded = load(source, weights=weights, seed=seed)
        options = Options(
            target=target,
            precision=precision,
            pipeline=DEFAULT_PIPELINE if passes is None else passes,
            batch=batch,
            preprocess=preprocess_of_graph(loaded.graph, preprocess),
            class_offset=class_offset or 0,
        )
        path = output or Path(f"{loaded.name}.cnnmod")
        cache = None if no_cache else Cache()
        compiled = compile_source(loaded, path, options, cache=cache, progress=advance)
    if loaded.random_weights:
        err.print(f"no weights given: '{loaded.name}' is initialised at random, seed {seed}")
    for note in compiled.notes:
        err.print(note, markup=False)
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


def report(compiled: Compiled, size: int) -> None:
    """A few lines for people; `size` is the artifact's in bytes."""
    manifest = compiled.manifest
    out.print(
        f"{compiled.path}: {manifest.model} for {manifest.target}, {manifest.precision}, batch {manifest.batch}, "
        f"{quantity(size, 'B')}, in {compiled.seconds:.1f} s",
        soft_wrap=True,
    )
    if manifest.plan and "kernels" in manifest.plan:
        arena, unplanned = manifest.plan["arena_bytes"], manifest.plan["unplanned_bytes"]
        assert isinstance(arena, int)
        assert isinstance(unplanned, int)
        out.print(
            f"{manifest.plan['kernels']} kernels; activations in {quantity(arena, 'B')} "
            f"({quantity(unplanned, 'B')} without reuse)"
        )
    if compiled.deviation is not None:
        out.print(
            f"checked against the float64 reference: relative RMS error {compiled.deviation.relative_rms:.1e}, "
            f"largest {compiled.deviation.max_abs:.1e}"
        )
