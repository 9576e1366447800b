"""From what `--data` names to an image set."""

from __future__ import annotations

from pathlib import Path

from cnnir.data.dataset import Dataset
from cnnir.data.files import open_folder, open_list
from cnnir.data.npz import open_npz
from cnnir.errors import CnnirError


def open_dataset(source: str | Path) -> Dataset:
    """A labelled image set: a `.npz` archive, a folder of class folders, or a `.txt`/`.lst` list of `path label`.

    Raises:
        CnnirError: nothing there, a kind that is not known, damaged or empty.
    """
    path = Path(source)
    dataset: Dataset
    if path.is_dir():
        dataset = open_folder(path)
    elif not path.exists():
        raise CnnirError(f"There is no data at '{source}'.")
    elif path.suffix.lower() == ".npz":
        dataset = open_npz(path)
    elif path.suffix.lower() in (".txt", ".lst"):
        dataset = open_list(path)
    else:
        raise CnnirError(
            f"'{source}' is no kind of data that can be read.",
            hints=["Expected a .npz archive, a folder of class folders, or a .txt list of lines 'path label'."],
        )
    if len(dataset) == 0:
        raise CnnirError(f"'{source}' holds no images.")
    return dataset
