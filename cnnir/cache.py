"""A cache of compiled code on disk: shared by processes, bounded, never trusted.

One file an entry, named by the hash of its key and holding its own checksum. Entries appear whole (temporary file
and rename), so a process that is killed, and two processes that write one key, leave nothing that could be read
wrongly; what does not match its checksum is a miss and is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

from cnnir.files import atomic_writer

DEFAULT_MAX_BYTES = 2 << 30

_MAGIC = b"cnnir cache 1\n"
_HEADER = len(_MAGIC) + 32
_STALE_SECONDS = 3600.0  # a temporary file this old was left by a process that was killed


def default_cache_root() -> Path | None:
    """`$CNNIR_CACHE_DIR`, else the folder of this platform for caches of this user; `None` if it has no home."""
    if named := os.environ.get("CNNIR_CACHE_DIR"):
        return Path(named)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local, "cnnir", "cache")
    if (xdg := os.environ.get("XDG_CACHE_HOME")) and Path(xdg).is_absolute():
        return Path(xdg, "cnnir")
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "cnnir"


class Cache:
    """A store of bytes by key. Never raises for the state of the disk: what cannot be read is a miss, what cannot
    be written is a warning on standard error, once.

    Args:
        root: the folder; by default `default_cache_root()`. It is made by the first `put`.
        max_bytes: beyond this, the entries that were not read for longest are removed.
    """

    def __init__(self, root: Path | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.root = root or default_cache_root()
        self.max_bytes = max_bytes
        self._total: int | None = None
        self._warned = False

    def get(self, key: str) -> bytes | None:
        """The bytes stored under `key`, or `None`."""
        if self.root is None:
            return None
        path = self._path(self.root, key)
        try:
            entry = path.read_bytes()
        except OSError:
            return None
        body = entry[_HEADER:]
        if entry[:_HEADER] != _MAGIC + hashlib.sha256(body).digest():
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(path)
        return body

    def put(self, key: str, value: bytes) -> None:
        """Stores `value` under `key`, replacing what was there."""
        if self.root is None:
            self._warn("this user has no home folder")
            return
        path = self._path(self.root, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The checksum tells a torn entry after a power cut, so there is no need to wait for the disk.
            with atomic_writer(path, sync=False) as file:
                file.write(_MAGIC + hashlib.sha256(value).digest())
                file.write(value)
        except OSError as error:
            self._warn((error.strerror or str(error)).lower())
            return
        self._bound(self.root, _HEADER + len(value))

    @staticmethod
    def _path(root: Path, key: str) -> Path:
        return root / "v1" / hashlib.sha256(key.encode()).hexdigest()

    def _bound(self, root: Path, added: int) -> None:
        """Removes the least recently used entries once the folder outgrows its bound (to 90% of it)."""
        if self._total is not None:
            self._total += added
            if self._total <= self.max_bytes:
                return
        now = time.time()
        entries: list[tuple[float, int, str]] = []
        with contextlib.suppress(OSError), os.scandir(root / "v1") as found:
            for entry in found:
                with contextlib.suppress(OSError):  # another process removed it meanwhile
                    status = entry.stat()
                    if not entry.name.endswith(".tmp"):
                        entries.append((status.st_mtime, status.st_size, entry.path))
                    elif now - status.st_mtime > _STALE_SECONDS:
                        Path(entry.path).unlink()
        total = sum(size for _, size, _ in entries)
        if total > self.max_bytes:
            for _, size, name in sorted(entries):
                if total <= self.max_bytes * 0.9:
                    break
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                    total -= size
        self._total = total

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            where = f" '{self.root}'" if self.root else ""
            sys.stderr.write(f"cnnir: warning: the compile cache{where} cannot be written ({reason}); going on.\n")
