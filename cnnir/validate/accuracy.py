"""Top-1 and top-5 accuracy on labelled images, decoded while the model computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnir.data import IMAGENET_CLASSES, Dataset, Item, stream
from cnnir.errors import CnnirError
from cnnir.ir import Array
from cnnir.preprocess import Preprocess, Tensor
from cnnir.validate.numeric import ValidationError

Predict = Callable[[Tensor], Array]
"""From a batch `[N, C, H, W]` to one score a class `[N, classes]` (trailing axes of length 1 are dropped)."""

Z95 = 1.959963984540054
"""The 97.5% quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Corrupt:
    """An image that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`top1` and `top5` in percent of the `n` images judged (not the corrupt ones), with Wilson 95% intervals."""

    n: int
    correct1: int
    correct5: int
    corrupt: tuple[Corrupt, ...] = ()

    @property
    def top1(self) -> float:
        return 100 * self.correct1 / self.n

    @property
    def top5(self) -> float:
        return 100 * self.correct5 / self.n

    @property
    def top1_interval(self) -> tuple[float, float]:
        return wilson(self.correct1, self.n)

    @property
    def top5_interval(self) -> tuple[float, float]:
        return wilson(self.correct5, self.n)

    def as_dict(self) -> dict[str, Any]:
        """JSON types; accuracies and intervals in percent."""
        return {
            "n": self.n,
            "top1": self.top1,
            "top5": self.top5,
            "top1_interval": list(self.top1_interval),
            "top5_interval": list(self.top5_interval),
            "corrupt": [{"id": c.id, "reason": c.reason} for c in self.corrupt],
        }


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion, in percent (Wilson, "Probable inference", 1927)."""
    p, z2 = hits / n, Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def ranks(scores: Array, labels: Array) -> Array:
    """How many classes come before the label of each row `[N]`; of equal scores the lower class comes first.

    `scores` is `[N, classes]`, `labels` `[N]`.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    ranked: Array = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return ranked


def evaluate(
    predict: Predict,
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    batch: int = 1,
    fixed_batch: bool = False,
    class_offset: int = 0,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Accuracy:
    """Accuracy of a model on `dataset`.

    Args:
        predict: the model, see `Predict`.
        batch: images a call; the last call gets what is left.
        fixed_batch: fill the last call with zeros instead, for a model compiled for exactly `batch` images.
        class_offset: number of leading outputs that stand for no class (1 for a model with a background class).
        limit: judge only the first so many images.
        progress: called with (images done, images in all) after every batch.

    Raises:
        CnnirError: labels that do not fit the model's classes; no usable image; a batch or offset out of range.
        ValidationError: scores that are not finite.
    """
    if batch < 1 or class_offset < 0 or (limit is not None and limit < 1):
        raise CnnirError(
            f"Expected batch and limit of at least 1 and class offset of at least 0, "
            f"got {batch}, {limit} and {class_offset}."
        )
    total = len(dataset) if limit is None else min(limit, len(dataset))
    tally = _Tally(predict, dataset, batch if fixed_batch else None, class_offset)
    waiting: list[Item] = []
    corrupt: list[Corrupt] = []
    done = 0

    def flush() -> None:
        if waiting:
            tally.add(waiting)
            waiting.clear()
        if progress is not None:
            progress(done, total)

    for item in stream(dataset, preprocess, limit=limit, ahead=max(2 * batch, 32)):
        done += 1
        if item.error is not None:
            corrupt.append(Corrupt(item.id, str(item.error)))
        else:
            waiting.append(item)
        if len(waiting) == batch:
            flush()
    flush()
    if tally.n == 0:
        raise CnnirError(
            f"None of the {total} images of '{dataset.name}' can be used.",
            notes=[f"The first: {corrupt[0].reason}"],
        )
    return Accuracy(tally.n, tally.correct1, tally.correct5, tuple(corrupt))


class _Tally:
    """Counts hits over batches."""

    def __init__(self, predict: Predict, dataset: Dataset, padded: int | None, class_offset: int) -> None:
        self.n = self.correct1 = self.correct5 = 0
        self._predict, self._dataset, self._padded, self._offset = predict, dataset, padded, class_offset

    def add(self, items: list[Item]) -> None:
        tensors = [item.tensor for item in items if item.tensor is not None]
        if self._padded is not None:
            tensors += [np.zeros_like(tensors[0])] * (self._padded - len(tensors))
        scores = self._scores(np.stack(tensors))[: len(items)]
        self._check(scores, items)
        ranked = ranks(scores[:, self._offset :], np.array([item.label for item in items]))
        self.n += len(items)
        self.correct1 += int((ranked < 1).sum())
        self.correct5 += int((ranked < 5).sum())

    def _scores(self, x: Tensor) -> Array:
        scores = self._predict(x)
        if scores.ndim < 2 or scores.shape[0] != len(x) or math.prod(scores.shape[1:]) != scores.shape[1]:
            raise CnnirError(
                f"Expected one score a class for each of {len(x)} images, got an output {list(scores.shape)}.",
                hints=["Accuracy needs a classifier."],
            )
        return scores.reshape(scores.shape[:2])

    def _check(self, scores: Array, items: list[Item]) -> None:
        outputs, offset = scores.shape[1], self._offset
        classes = outputs - offset
        names = self._dataset.class_names
        hints = []
        if outputs == IMAGENET_CLASSES + 1 and offset == 0:
            hints = ["A model with a background class needs '--class-offset 1'."]
        elif outputs == IMAGENET_CLASSES and offset:
            hints = ["Leave out '--class-offset'."]
        if names is not None and len(names) != classes:
            after = f" after the class offset {offset}" if offset else ""
            raise CnnirError(
                f"'{self._dataset.name}' has {len(names)} classes, the model has {max(classes, 0)}{after}.",
                hints=hints,
            )
        for item in items:
            if not 0 <= item.label < classes:
                raise CnnirError(
                    f"Label {item.label} of '{item.id}' is out of range: the model has {max(classes, 0)} classes.",
                    hints=hints,
                )
        finite = np.isfinite(scores).all(axis=1)
        if not finite.all():
            raise ValidationError(f"The model's scores for '{items[int(np.argmin(finite))].id}' are not finite.")
