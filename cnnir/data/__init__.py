"""Labelled image sets: what `validate --data` reads, and the class names that `run --image` prints."""

from cnnir.data.dataset import Dataset
from cnnir.data.names import CIFAR10_CLASSES, IMAGENET_CLASSES, class_names
from cnnir.data.open import open_dataset
from cnnir.data.stream import Item, stream

__all__ = [
    "CIFAR10_CLASSES",
    "IMAGENET_CLASSES",
    "Dataset",
    "Item",
    "class_names",
    "open_dataset",
    "stream",
]
