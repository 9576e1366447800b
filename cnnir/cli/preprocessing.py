"""Where the preprocessing comes from: the command line, else the artifact; never a guess."""

from __future__ import annotations

from cnnir.artifact import Manifest
from cnnir.errors import CnnirError
from cnnir.preprocess import Preprocess, load_preprocess


def preprocess_for(manifest: Manifest, given: str | None) -> Preprocess:
    """The preprocessing given on the command line, else the one stored in the artifact."""
    shape = manifest.inputs[0].shape
    if len(shape) != 4:
        raise CnnirError(f"'{manifest.model}' takes an input {list(shape)}, which is no image.")
    if given is not None:
        return load_preprocess(given, (shape[2], shape[3]), channels=shape[1])
    if manifest.preprocessing is None:
        raise CnnirError(
            f"The artifact of '{manifest.model}' does not say how an image becomes its input.",
            hints=["Give --preprocess torch, caffe, tf, lite, raw or a JSON file, here or to `cnnir compile`."],
        )
    return Preprocess.from_dict(manifest.preprocessing, size=(shape[2], shape[3]))
