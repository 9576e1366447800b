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
Passes = Annotated[
    str | None,
    typer.Option("--passes", help='A pipeline: "inference", or "fold-batch-norm,dce"; see `cnnir passes`.'),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Trained weights: .safetensors, .npz or a PyTorch checkpoint.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the initialisation where no weights are given.")]
TargetName = Annotated[str, typer.Option("--target", help="See `cnnir targets`.")]
Precision = Annotated[str, typer.Option("--precision", help="Arithmetic of the compiled code.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images in one call of the compiled module.")]
PreprocessName = Annotated[
    str | None,
    typer.Option("--preprocess", help="Preset torch, caffe, tf, lite or raw, or a JSON file."),
]
ClassOffset = Annotated[
    int | None,
    typer.Option("--class-offset", help="Outputs before class 0 (1 where the model has a background class)."),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads; all cores by default.")]
