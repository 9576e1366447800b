"""Image sets in one NumPy archive: compressed images with offsets, an array of pixels, or sheets of images."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cnnir.errors import CnnirError
from cnnir.ir import Array
from cnnir.preprocess import Pixels

SHEET_COLUMNS = 100
"""Images in a row of a sheet; each is square, so the sheet's width gives the side."""


class _Labelled:
    """Name, labels and class names: what the kinds of archive share."""

    def __init__(self, path: Path, labels: Array, class_names: tuple[str, ...] | None) -> None:
        self.name = path.name
        self.class_names = class_names
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, i: int) -> int:
        return int(self._labels[i])

    def id(self, i: int) -> str:
        return f"{self.name}[{i}]"


class ArrayDataset(_Labelled):
    """`images` of type uint8: `[n, H, W, 3]`, `[n, H, W, 1]` or `[n, H, W]`."""

    def __init__(self, path: Path, labels: Array, class_names: tuple[str, ...] | None, images: Array) -> None:
        super().__init__(path, labels, class_names)
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or (images.ndim == 4 and images.shape[3] not in (1, 3))
        ):
            raise CnnirError(
                f"'{path}': expected 'images' of type uint8[n,H,W,3], got {images.dtype}{list(images.shape)}."
            )
        _same_length(path, "images", len(images), len(labels))
        self._images = images

    def image(self, i: int) -> Pixels:
        pixels: Pixels = self._images[i]
        return pixels


class EncodedDataset(_Labelled):
    """`jpeg`: the bytes of all files (of any format Pillow reads); file `i` is `jpeg[offsets[i]:offsets[i+1]]`."""

    def __init__(
        self, path: Path, labels: Array, class_names: tuple[str, ...] | None, data: Array, offsets: Array
    ) -> None:
        super().__init__(path, labels, class_names)
        if data.dtype != np.uint8 or data.ndim != 1:
            raise CnnirError(f"'{path}': expected 'jpeg' as a row of bytes, got {data.dtype}{list(data.shape)}.")
        if offsets.dtype.kind not in "iu" or offsets.ndim != 1:
            raise CnnirError(
                f"'{path}': expected 'offsets' as a row of integers, got {offsets.dtype}{list(offsets.shape)}."
            )
        _same_length(path, "offsets", len(offsets) - 1, len(labels))
        offsets = offsets.astype(np.int64)
        if offsets[0] < 0 or np.any(np.diff(offsets) < 0) or offsets[-1] > len(data):
            raise CnnirError(f"'{path}': 'offsets' must rise from 0 to the {len(data)} bytes of 'jpeg'.")
        self._data, self._offsets = data, offsets

    def image(self, i: int) -> Image.Image:
        begin, end = self._offsets[i], self._offsets[i + 1]
        return decode(self._data[begin:end].tobytes(), self.id(i))


class SheetDataset(_Labelled):
    """`sheet0`, `sheet1`, ...: compressed pictures, each a grid of square images in rows of 100."""

    def __init__(self, path: Path, labels: Array, class_names: tuple[str, ...] | None, sheets: list[Array]) -> None:
        super().__init__(path, labels, class_names)
        self._lock = threading.Lock()
        self._bytes = [sheet.tobytes() for sheet in sheets]
        self._pixels: list[Pixels | None] = [None] * len(sheets)
        starts = [0]
        for i, data in enumerate(self._bytes):
            name = f"{path}: sheet{i}"
            try:
                width, height = Image.open(io.BytesIO(data)).size
            except (OSError, SyntaxError, ValueError) as error:
                raise CnnirError(f"'{name}' is not an image that can be read.") from error
            side = width // SHEET_COLUMNS
            if side * SHEET_COLUMNS != width or side == 0 or height % side:
                raise CnnirError(f"'{name}' is no grid of square images in rows of {SHEET_COLUMNS}.")
            starts.append(starts[-1] + height // side * SHEET_COLUMNS)
        _same_length(path, "sheets", starts[-1], len(labels))
        self._starts = starts

    def image(self, i: int) -> Pixels:
        sheet = int(np.searchsorted(self._starts, i, side="right")) - 1
        pixels: Pixels = self._sheet(sheet)[i - self._starts[sheet]]
        return pixels

    def _sheet(self, k: int) -> Pixels:
        with self._lock:
            pixels = self._pixels[k]
            if pixels is None:
                grid = np.asarray(decode(self._bytes[k], f"{self.name}: sheet{k}").convert("RGB"))
                side = grid.shape[1] // SHEET_COLUMNS
                tiles = grid.reshape(-1, side, SHEET_COLUMNS, side, 3).transpose(0, 2, 1, 3, 4)
                self._pixels[k] = pixels = tiles.reshape(-1, side, side, 3)
        return pixels


Archive = ArrayDataset | EncodedDataset | SheetDataset


def open_npz(path: Path) -> Archive:
    """The image set of an archive, whose kind its members tell.

    Raises:
        CnnirError: not an archive, damaged, without labels, or of no known kind; members that do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files)
            if "labels" not in names:
                raise CnnirError(
                    f"'{path}' has no member 'labels'.", notes=[f"It holds: {', '.join(sorted(names))}."]
                )
            labels = _labels(path, archive["labels"])
            classes = _class_names(archive["class_names"]) if "class_names" in names else None
            if "images" in names:
                return ArrayDataset(path, labels, classes, archive["images"])
            if {"jpeg", "offsets"} <= names:
                return EncodedDataset(path, labels, classes, archive["jpeg"], archive["offsets"])
            if "sheet0" in names:
                count = sum(f"sheet{i}" in names for i in range(len(names)))
                return SheetDataset(path, labels, classes, [archive[f"sheet{i}"] for i in range(count)])
    except CnnirError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, AttributeError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise CnnirError(f"Cannot read '{path}': {error.strerror}.") from error
        raise CnnirError(f"'{path}' is not a NumPy archive that can be read: {error}.") from error
    raise CnnirError(
        f"'{path}' holds no images that can be read.",
        notes=[f"It holds: {', '.join(sorted(names))}."],
        hints=["Expected 'images', or 'jpeg' with 'offsets', or 'sheet0'."],
    )


def decode(data: bytes, name: str) -> Image.Image:
    """The image of these bytes; `CnnirError` with its name when they are damaged."""
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError as error:
        raise CnnirError(f"'{name}' is not an image that can be read.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CnnirError(f"Image '{name}' is damaged: {error}.") from error
    return picture


def _labels(path: Path, labels: Array) -> Array:
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise CnnirError(
            f"'{path}': expected 'labels' as a row of integers, got {labels.dtype}{list(labels.shape)}."
        )
    return labels


def _class_names(names: Array) -> tuple[str, ...]:
    return tuple(str(name).replace("_", " ") for name in names.reshape(-1))


def _same_length(path: Path, what: str, got: int, labels: int) -> None:
    if got != labels:
        raise CnnirError(f"'{path}': {labels} labels do not fit '{what}', which hold {got} images.")
