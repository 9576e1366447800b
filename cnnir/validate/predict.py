"""The best classes of one image, with their names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnir.errors import CnnirError
from cnnir.ir import Array
from cnnir.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its number counted from 0 after the class offset, its name (or number), its probability."""

    index: int
    name: str
    probability: float


def top_classes(scores: Array, manifest: Manifest, top: int = 5) -> list[ClassScore]:
    """The `top` best classes, best first; of equal scores the lower class comes first.

    Args:
        scores: one image's output `[classes]` (axes of length 1 are dropped): probabilities, or logits that
            become probabilities by softmax.
        manifest: gives the names and the class offset.

    Raises:
        CnnirError: an output that is no row of scores.
    """
    offset = manifest.class_offset
    row = scores.astype(np.float64)
    if row.size != max(row.shape, default=0) or row.size <= offset:
        raise CnnirError(
            f"Expected one score a class, got an output {list(scores.shape)} after a class offset of {offset}.",
            hints=["Naming classes needs a classifier."],
        )
    probabilities = as_probabilities(row.ravel())[offset:]
    order = np.argsort(-probabilities, kind="stable")[:top]
    labels = manifest.labels[offset:]
    return [ClassScore(int(i), labels[i] if i < len(labels) else str(i), float(probabilities[i])) for i in order]


def as_probabilities(row: Array) -> Array:
    """`row` itself if it is a distribution (no negatives, sum 1 within 1e-3), else its softmax."""
    if row.min() >= 0 and abs(row.sum() - 1) <= 1e-3:
        return row
    e = np.exp(row - row.max())
    return np.asarray(e / e.sum())
