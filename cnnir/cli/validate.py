"""`cnnir validate`: accuracy of an artifact on labelled images."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cnnir.cli.console import note, print_json, progress, say
from cnnir.cli.options import Artifact, ClassOffset, Json, PreprocessName, Threads


def validate(
    artifact: Artifact,
    data: Annotated[
        str, typer.Option("--data", help="A .npz archive, a folder of class folders, or a list 'path label'.")
    ],
    preprocess: PreprocessName = None,
    class_offset: ClassOffset = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Judge only the first so many images.")
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure top-1 and top-5 accuracy of a compiled artifact on labelled images."""
    # Late: images and the runtime take longer to load than `cnnir --help` takes to print.
    from cnnir import runtime
    from cnnir.cli.preprocessing import preprocess_for
    from cnnir.data import open_dataset
    from cnnir.validate import evaluate

    module = runtime.load(artifact, threads=threads)
    manifest = module.manifest
    prepare = preprocess_for(manifest, preprocess)
    dataset = open_dataset(data)
    output = manifest.outputs[0].name
    with progress() as advance:
        accuracy = evaluate(
            lambda images: module(images)[output],
            dataset,
            prepare,
            batch=manifest.batch,
            class_offset=manifest.class_offset if class_offset is None else class_offset,
            limit=limit,
            progress=lambda done, total: advance("validate", done, total),
        )
    for corrupt in accuracy.corrupt:
        note(f"left out: {corrupt.reason}")
    if json:
        print_json({"artifact": os.fspath(artifact), "data": data, **accuracy.as_dict()})
        return
    (low1, high1), (low5, high5) = accuracy.top1_interval, accuracy.top5_interval
    left_out = f", {len(accuracy.corrupt)} left out" if accuracy.corrupt else ""
    say(f"{manifest.model} ({manifest.target}, {manifest.precision}) on {accuracy.n} images{left_out}")
    say(f"top-1 {accuracy.top1:6.2f}%   95% interval {low1:.2f} to {high1:.2f}")
    say(f"top-5 {accuracy.top5:6.2f}%   95% interval {low5:.2f} to {high5:.2f}")
