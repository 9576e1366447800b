"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Argument(help="A built-in model (resnet50d), file.py:function, model.onnx or graph.cnnir."),
]
Artifact = Annotated[Path, typer.Argument(help="A compiled artifact (.cnnmod).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
PASSES_HELP = "A pipeline: 'inference', or 'fold-batch-norm,dce'; see `cnnir passes`."
WEIGHTS_HELP = "Trained weights: .safetensors, .npz or a PyTorch checkpoint."
SEED_HELP = "Seed of the initialisation where no weights are given."
TARGET_HELP = "See `cnnir targets`."
PRECISION_HELP = "Arithmetic of the compiled code."
BATCH_HELP = "Images in one call of the compiled module."
Passes = Annotated[str, typer.Option("--passes", help=PASSES_HELP)]
OptionalPasses = Annotated[str | None, typer.Option("--passes", help=PASSES_HELP)]
Weights = Annotated[Path | None, typer.Option("--weights", help=WEIGHTS_HELP)]
Seed = Annotated[int, typer.Option("--seed", min=0, help=SEED_HELP)]
TargetName = Annotated[str, typer.Option("--target", help=TARGET_HELP)]
Precision = Annotated[str, typer.Option("--precision", help=PRECISION_HELP)]
Batch = Annotated[int, typer.Option("--batch", min=1, help=BATCH_HELP)]
PreprocessName = Annotated[
    str | None,
    typer.Option("--preprocess", help="Preset torch, caffe, tf, lite or raw, or a JSON file."),
]
ClassOffset = Annotated[
    int | None,
    typer.Option(
        "--class-offset", min=0, help="Outputs before class 0 (1 where the model has a background class)."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads; all cores by default.")]
