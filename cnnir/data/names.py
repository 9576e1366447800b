"""Names of classes that everybody numbers alike."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

IMAGENET_CLASSES = 1000
CIFAR10_CLASSES = 10


@cache
def _lines(file: str) -> tuple[str, ...]:
    return tuple((files("cnnir.data") / file).read_text(encoding="utf-8").splitlines())


@cache
def imagenet_names() -> tuple[str, ...]:
    """The 1,000 classes of ILSVRC 2012-2017 in the usual order, that of their WordNet ids."""
    return tuple(line.split(" ", 1)[1] for line in _lines("imagenet_classes.txt"))


@cache
def imagenet_wnids() -> dict[str, int]:
    """The class of each of the 1,000 WordNet ids (`n01440764` is class 0)."""
    return {line.split(" ", 1)[0]: i for i, line in enumerate(_lines("imagenet_classes.txt"))}


def cifar10_names() -> tuple[str, ...]:
    """The 10 classes of CIFAR-10, in the order of its label files."""
    return _lines("cifar10_classes.txt")


def class_names(outputs: int, *, class_offset: int = 0) -> tuple[str, ...] | None:
    """Names for a model's classes, guessed from their number alone: ImageNet for 1,000, CIFAR-10 for 10.

    Args:
        outputs: number of the model's outputs.
        class_offset: number of leading outputs that stand for no class (1 for a model with a background class).

    Returns:
        A name for every output past the offset, or `None` where the number says nothing.
    """
    count = outputs - class_offset
    if count == IMAGENET_CLASSES:
        return imagenet_names()
    return cifar10_names() if count == CIFAR10_CLASSES else None
