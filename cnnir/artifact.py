"""The artifact file `NAME.cnnmod`: a zip that is mapped into memory, never unpacked and never unpickled.

Layout: every member is stored (uncompressed) and starts at a multiple of 4096 bytes of the file, so that a view
of the mapped file is aligned for any kernel. `manifest.json` comes first and holds the sha256 of every other
member; the archive comment holds the sha256 of all bytes outside those members (manifest, headers, padding,
directory). So each bit of the file is covered by one hash, and `Artifact.open` reads the file once to check.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import platform
import stat
import struct
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnir.errors import CnnirError
from cnnir.files import atomic_writer, write_error
from cnnir.manifest import (
    MEMBER_NAME,
    Execution,
    Manifest,
    ManifestError,
    MemberInfo,
    OnnxExecution,
    PipelineStep,
    TensorSpec,
    TvmExecution,
)

__all__ = [
    "Artifact",
    "Execution",
    "Manifest",
    "MemberInfo",
    "OnnxExecution",
    "PipelineStep",
    "TensorSpec",
    "TvmExecution",
    "host_cpu_features",
    "write",
]

Array = NDArray[Any]

ALIGNMENT = 4096
MANIFEST = "manifest.json"

_LOCAL_HEADER = 30  # bytes before the name (PKWARE APPNOTE 4.3.7)
_ZIP64_EXTRA = 20  # bytes that zipfile puts into the extra field of a local header with 64-bit sizes
_PADDING_ID = 0xD935  # the extra field that Android's zipalign uses for the same purpose
_COMMENT = b"cnnir sha256 "
_COMMENT_SIZE = len(_COMMENT) + 64
_CHUNK = 1 << 22


def write(path: str | Path, manifest: Manifest, members: Mapping[str, bytes | Array]) -> Manifest:
    """Writes an artifact to a temporary file beside `path` and renames it; the same input gives the same bytes.

    Args:
        path: the file; an existing one is replaced.
        manifest: its `members` are replaced by the hashes of `members`.
        members: by name; arrays are stored in C order, and read back with their element type and shape.

    Returns:
        the manifest as written.

    Raises:
        CnnirError: the file cannot be written (no space, no folder, no permission); nothing is left behind.
    """
    path = Path(path)
    blobs: dict[str, memoryview] = {}
    infos: dict[str, MemberInfo] = {}
    for name in sorted(members):
        if not MEMBER_NAME.match(name) or name == MANIFEST:
            raise ValueError(f"'{name}' cannot be the name of a member")
        array = _as_array(members[name])
        blob = array.reshape(-1).view(np.uint8).data
        blobs[name] = blob
        infos[name] = MemberInfo(hashlib.sha256(blob).hexdigest(), blob.nbytes, array.dtype.name, array.shape)
    for name in manifest.execution.members:
        if name not in blobs:
            raise ValueError(f"the member '{name}' that the manifest executes is not there")
    manifest = manifest.with_members(infos)
    try:
        with atomic_writer(path) as file:
            spans = _write_zip(file, {MANIFEST: memoryview(manifest.dumps()), **blobs})
            spans.pop(MANIFEST)
            _seal(file, spans.values())
    except OSError as error:
        raise write_error(path, error) from None
    return manifest


def _as_array(data: bytes | Array) -> Array:
    if not isinstance(data, np.ndarray):
        return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
    array = np.ascontiguousarray(data).reshape(data.shape)  # ascontiguousarray turns 0-d into 1-d
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _write_zip(file: BinaryIO, blobs: Mapping[str, memoryview]) -> dict[str, tuple[int, int]]:
    """Writes the archive with room for the seal; returns where each member's bytes lie (begin, end)."""
    spans = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, blob in blobs.items():
            zip64 = blob.nbytes > zipfile.ZIP64_LIMIT // 2
            begin = file.tell() + _LOCAL_HEADER + len(name) + (_ZIP64_EXTRA if zip64 else 0) + 4
            padding = -begin % ALIGNMENT
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # the writing system would otherwise show
            info.external_attr = 0o644 << 16
            info.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
            with archive.open(info, "w", force_zip64=zip64) as member:
                for start in range(0, blob.nbytes, _CHUNK):
                    member.write(blob[start : start + _CHUNK])
            spans[name] = begin + padding, begin + padding + blob.nbytes
        archive.comment = _COMMENT + b"0" * 64
    return spans


def _seal(file: BinaryIO, spans: Iterable[tuple[int, int]]) -> None:
    """Puts the hash of everything outside `spans` into the comment."""
    end = file.seek(0, 2)
    digest = hashlib.sha256()
    position = 0
    for begin, stop in [*sorted(spans), (end - 64, end)]:
        file.seek(position)
        digest.update(file.read(begin - position))
        position = stop
    file.seek(end - 64)
    file.write(digest.hexdigest().encode())


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact; its members are read-only views of the mapped file and stay valid while referenced.

    Attributes:
        path: the file, for messages.
        manifest: what it says about itself.
    """

    path: Path
    manifest: Manifest
    _views: Mapping[str, Array]

    @classmethod
    def open(cls, path: str | Path, *, check_cpu: bool = True, verify: bool = True) -> Artifact:
        """Maps the file and checks it before anything in it is used.

        Args:
            path: the file.
            check_cpu: refuse code that this processor cannot run; a reader of the manifest does not need it.
            verify: compare all hashes (100 MB take about 0.06 s on a processor with SHA instructions).

        Raises:
            CnnirError: one sentence: no such file, no artifact, truncated, another format version, damaged
                (naming the member), or made for a processor with features that this one lacks.
        """
        path = Path(path)
        with _open(path) as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            spans, text = _directory(path, file, mapped)
        try:
            manifest = Manifest.loads(text)
        except ManifestError as error:
            raise CnnirError(error.message, at=path, notes=error.notes, hints=error.hints) from None
        if {name: end - begin for name, (begin, end) in spans.items()} != {
            name: info.bytes for name, info in manifest.members.items()
        } or not set(manifest.execution.members) <= set(spans):
            raise _damaged(path, "its members are not those of the manifest")
        if verify:
            _verify(path, mapped, manifest, spans)
        if check_cpu:
            _check_cpu(path, manifest)
        return cls(path, manifest, {name: _view(path, mapped, spans[name], name, manifest) for name in spans})

    def member(self, name: str) -> Array:
        """A read-only array over the mapped file, aligned to 4096 bytes; bytes come as uint8."""
        return self._views[name]


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise CnnirError(f"There is no file '{path}'.") from None
    except IsADirectoryError:
        raise CnnirError(f"'{path}' is a folder, expected an artifact file (.cnnmod).") from None
    except OSError as error:
        raise CnnirError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}.") from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return file
    file.close()
    what = "is empty" if stat.S_ISREG(status.st_mode) else "is not a regular file"
    raise CnnirError(f"'{path}' {what}, expected an artifact file (.cnnmod).")


def _damaged(path: Path, what: str) -> CnnirError:
    return CnnirError(f"'{path}' is damaged: {what}.", hints=["Copy or compile it again."])


def _directory(path: Path, file: BinaryIO, mapped: mmap.mmap) -> tuple[dict[str, tuple[int, int]], bytes]:
    """Where each member's bytes lie (the manifest left out), and the text of the manifest."""
    try:
        with zipfile.ZipFile(file) as archive:
            spans = {info.filename: _span(mapped, info) for info in archive.infolist()}
            if MANIFEST not in spans:
                raise CnnirError(f"'{path}' is a zip file, but no cnnir artifact.")
            text = archive.read(MANIFEST)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        struct.error,
    ) as error:
        if mapped[:4] != b"PK\3\4":
            raise CnnirError(f"'{path}' is no artifact: it is not a zip file.") from None
        if b"PK\5\6" not in mapped[-(1 << 16) :]:
            raise CnnirError(
                f"'{path}' is truncated: its end is missing.", hints=["Copy or compile it again."]
            ) from None
        raise _damaged(path, str(error).rstrip(".") or "its directory cannot be read") from None
    del spans[MANIFEST]
    return spans, text


def _span(mapped: mmap.mmap, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Begin and end of the stored bytes of a member."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise zipfile.BadZipFile(f"the member '{info.filename}' is compressed")
    name_size, extra_size = struct.unpack_from("<HH", mapped, info.header_offset + _LOCAL_HEADER - 4)
    begin = info.header_offset + _LOCAL_HEADER + name_size + extra_size
    if begin + info.file_size > len(mapped):
        raise zipfile.BadZipFile(f"the member '{info.filename}' ends behind the file")
    return begin, begin + info.file_size


def _verify(path: Path, mapped: mmap.mmap, manifest: Manifest, spans: Mapping[str, tuple[int, int]]) -> None:
    file = memoryview(mapped)

    def intact(name: str) -> bool:
        begin, end = spans[name]
        return hashlib.sha256(file[begin:end]).hexdigest() == manifest.members[name].sha256

    names = sorted(spans, key=lambda name: spans[name][0] - spans[name][1])
    with ThreadPoolExecutor(2) as pool:  # hashlib releases the lock: the library hashes beside the weights
        for name, good in zip(names, pool.map(intact, names), strict=True):
            if not good:
                raise _damaged(path, f"the member '{name}' differs from its sha256")
    digest = hashlib.sha256()
    position = 0
    for begin, end in sorted(spans.values()):
        digest.update(file[position:begin])
        position = end
    digest.update(file[position:-64])
    if file[-_COMMENT_SIZE:] != _COMMENT + digest.hexdigest().encode():
        raise _damaged(path, "its manifest or directory differs from its sha256")


def _view(path: Path, mapped: mmap.mmap, span: tuple[int, int], name: str, manifest: Manifest) -> Array:
    info = manifest.members[name]
    begin, end = span
    dtype = np.dtype(info.dtype).newbyteorder("<")
    if begin % ALIGNMENT or math.prod(info.shape) * dtype.itemsize != end - begin:
        raise _damaged(path, f"the member '{name}' does not fit its place")
    if begin == end:
        return np.empty(info.shape, dtype)
    return np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, begin).reshape(info.shape)


def host_cpu_features() -> frozenset[str] | None:
    """What this processor has, named as in `/proc/cpuinfo`; `None` where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _check_cpu(path: Path, manifest: Manifest) -> None:
    if not manifest.cpu_features:
        return
    present = host_cpu_features()
    if present is None:  # no way to know; the compiler's other targets are Linux's, where one knows
        return
    missing = [name for name in manifest.cpu_features if name not in present]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise CnnirError(
            f"'{path}' was compiled for a processor with {names}, which this one ({platform.machine()}) lacks.",
            hints=["Compile the model for this machine."],
        )
