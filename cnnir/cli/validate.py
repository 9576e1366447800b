"""`cnnir validate`: accuracy of an artifact on labelled images."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cnnir import runtime
from cnnir.cli.console import err, out, print_json, progress
from cnnir.cli.options import Artifact, ClassOffset, Json, PreprocessName, Threads
from cnnir.cli.preprocessing import preprocess_for
from cnnir.data import open_dataset
from cnnir.validate import evaluate


def validate(
    artifact: Artifact,
    data: Annotated[
        str, typer.Option("--data", help="A .npz archive, a folder of class folders, or a list 'path label'.")
    ],
    preprocess: PreprocessName = None,
    class_offset: ClassOffset = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Judge only the first so many images.")] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure top-1 and top-5 accuracy of a compiled artifact on labelled images."""
    module = runtime.load(artifact, threads=threads)
    manifest = module.manifest
    prepare = preprocess_for(manifest, preprocess)
    output = manifest.outputs[0].name
    with progress() as advance:
        accuracy = evaluate(
            lambda images: module(images)[output],
            open_dataset(data),
            prepare,
            batch=manifest.batch,
            class_offset=manifest.class_offset if class_offset is None else class_offset,
            limit=limit,
            progress=lambda done, total: advance("validate", done, total),
        )
    for corrupt in accuracy.corrupt:
        err.print(f"left out: {corrupt.reason}", markup=False)
    if json:
        print_json({"artifact": os.fspath(artifact), "data": data, **accuracy.as_dict()})
        return
    (low1, high1), (low5, high5) = accuracy.top1_interval, accuracy.top5_interval
    left_out = f", {len(accuracy.corrupt)} left out" if accuracy.corrupt else ""
    out.print(f"{manifest.model} ({manifest.target}, {manifest.precision}) on {accuracy.n} images{left_out}")
    out.print(f"top-1 {accuracy.top1:.2f}%   95% interval {low1:.2f} to {high1:.2f}")
    out.print(f"top-5 {accuracy.top5:.2f}%   95% interval {low5:.2f} to {high5:.2f}")
