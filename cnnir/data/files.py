"""Image sets of files: a folder of class folders, or a list of paths with labels."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cnnir.data.names import imagenet_names, imagenet_wnids
from cnnir.errors import CnnirError
from cnnir.preprocess import open_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
"""File names that a folder of classes takes for images (a list may name any file)."""


class FileDataset:
    """Images of files, with the label of each."""

    def __init__(
        self, name: str, paths: list[Path], labels: list[int], class_names: tuple[str, ...] | None = None
    ) -> None:
        self.name = name
        self.class_names = class_names
        self._paths, self._labels = paths, labels

    def __len__(self) -> int:
        return len(self._paths)

    def label(self, i: int) -> int:
        return self._labels[i]

    def id(self, i: int) -> str:
        return str(self._paths[i])

    def image(self, i: int) -> Image.Image:
        return open_image(self._paths[i])


def open_folder(folder: Path) -> FileDataset:
    """A folder with one folder a class.

    The class folders' names give the labels: all of them integers (the labels themselves), all of them ImageNet's
    WordNet ids, else their order when sorted.
    """
    try:
        classes = sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    except OSError as error:
        raise CnnirError(f"Cannot read folder '{folder}': {error.strerror}.") from error
    if not classes:
        raise CnnirError(
            f"Folder '{folder}' has no class folders.", hints=["Expected one folder a class, or a list file."]
        )
    wnids = imagenet_wnids()
    names: tuple[str, ...] | None = None
    if all(d.name.isdecimal() for d in classes):
        numbers = [int(d.name) for d in classes]
    elif all(d.name in wnids for d in classes):
        numbers, names = [wnids[d.name] for d in classes], imagenet_names()
    else:
        numbers, names = list(range(len(classes))), tuple(d.name for d in classes)
    pairs = [
        (path, number)
        for directory, number in zip(classes, numbers, strict=True)
        for path in sorted(directory.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    return FileDataset(folder.name, [p for p, _ in pairs], [n for _, n in pairs], names)


def open_list(path: Path) -> FileDataset:
    """A text file of lines `path label`, as ImageNet's `val.txt`; paths are relative to the file's folder.

    Empty lines and lines that begin with `#` are skipped.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CnnirError(f"Cannot read '{path}': {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CnnirError(f"'{path}' is not a text file.") from error
    paths, labels = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        file, _, label = line.rstrip().rpartition(" ")
        if not file or not label.isdecimal():
            raise CnnirError(f"Expected a line 'path label', got '{line[:80]}'.", at=f"{path}:{number}")
        paths.append(path.parent / file.strip())
        labels.append(int(label))
    return FileDataset(path.name, paths, labels)
