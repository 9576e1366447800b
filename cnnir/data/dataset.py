"""What a labelled image set is."""

from __future__ import annotations

from typing import Protocol

from PIL import Image

from cnnir.preprocess import Pixels


class Dataset(Protocol):
    """Labelled images with random access; `image` may be called from several threads at once.

    `class_names` is `None` where the set does not say what its labels mean.
    """

    @property
    def name(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def label(self, i: int) -> int:
        """The class of image `i`, counted from 0."""

    def id(self, i: int) -> str:
        """What messages call image `i`: its path, or its index in the file."""

    def image(self, i: int) -> Image.Image | Pixels:
        """Image `i`, decoded: a Pillow image or pixels `[H, W, C]`; `CnnirError` when it is damaged."""
