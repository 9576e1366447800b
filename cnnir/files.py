"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cnnir.errors import CnnirError


@contextlib.contextmanager
def atomic_writer(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A binary file that replaces `path` when the block ends, and leaves nothing when it fails.

    The bytes go to a hidden temporary file in the same folder, which is flushed to the disk (`sync`) and renamed:
    a reader, or a second writer, sees the old file or the new one, never a part.

    Raises:
        OSError: what the file system answers (see `write_error` for the user's sentence).
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def write_error(path: Path, error: OSError) -> CnnirError:
    """The one sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CnnirError(f"No space is left on the disk to write '{path}'.", hints=["No file was written."])
    if error.errno == errno.EFBIG:
        return CnnirError(f"'{path}' would be larger than the file size limit.", hints=["No file was written."])
    if not path.parent.is_dir():
        return CnnirError(f"'{path}' cannot be written: the folder '{path.parent}' does not exist.")
    return CnnirError(f"'{path}' cannot be written: {(error.strerror or str(error)).lower()}.")


def _umask() -> int:
    # The mask can only be read by setting it; /proc tells it without touching the process.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
