"""`cnnir run`: one image through a compiled artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cnnir import runtime
from cnnir.cli.console import out, print_json, table
from cnnir.cli.options import Artifact, Json, PreprocessName, Threads
from cnnir.cli.preprocessing import preprocess_for
from cnnir.preprocess import open_image
from cnnir.validate.predict import top_classes


def run(
    artifact: Artifact,
    image: Annotated[list[Path], typer.Option("--image", help="A photograph; may be given several times.")],
    preprocess: PreprocessName = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to print.")] = 5,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Classify photographs with a compiled artifact."""
    module = runtime.load(artifact, threads=threads)
    prepare = preprocess_for(module.manifest, preprocess)
    results = []
    for path in image:
        outputs = module(prepare.apply(open_image(path), name=str(path))[np.newaxis])
        scores = next(iter(outputs.values()))[0]
        results.append((path, top_classes(scores, module.manifest, top)))
    if json:
        print_json(
            [
                {
                    "image": str(path),
                    "top": [{"index": c.index, "name": c.name, "probability": c.probability} for c in best],
                }
                for path, best in results
            ]
        )
        return
    for path, best in results:
        out.print(
            table(
                [">class", "name", ">probability"],
                [(c.index, c.name, f"{100 * c.probability:.2f}%") for c in best],
                title=str(path),
            )
        )
