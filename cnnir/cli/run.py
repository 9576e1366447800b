"""`cnnir run`: images through a compiled artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnir.cli.console import print_json, print_table, say
from cnnir.cli.options import Artifact, Json, PreprocessName, Threads


def run(
    artifact: Artifact,
    image: Annotated[list[Path], typer.Option("--image", help="A photograph; may be given several times.")],
    preprocess: PreprocessName = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to print.")] = 5,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Classify photographs with a compiled artifact."""
    # Late: images and the runtime take longer to load than `cnnir --help` takes to print.
    import numpy as np

    from cnnir import runtime
    from cnnir.cli.preprocessing import preprocess_for
    from cnnir.preprocess import open_image
    from cnnir.validate.predict import top_classes

    module = runtime.load(artifact, threads=threads)
    prepare = preprocess_for(module.manifest, preprocess)
    inputs = [prepare.apply(open_image(path), name=str(path)) for path in image]
    results = []
    for path, x in zip(image, inputs, strict=True):
        scores = next(iter(module(x[np.newaxis]).values()))[0]
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
        say(str(path), style="italic")
        print_table(
            [">class", ">probability", "name"],
            [(c.index, f"{100 * c.probability:.2f}%", c.name) for c in best],
        )
