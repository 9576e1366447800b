"""Weight files in the safetensors format: written whole and deterministically, read memory-mapped.

Format: 8 bytes with the length of a JSON header, the header (`name -> dtype, shape, data_offsets`), the elements.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnnir.errors import CnnirError
from cnnir.files import atomic_writer, write_error
from cnnir.ir.data import ArrayData, TensorData
from cnnir.ir.types import Array, DType

_NAMES = {dtype: dtype.name for dtype in DType}  # F64, F32, F16, BF16, I8, U8, I32, I64, BOOL: as the format's
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_HEADER_LIMIT = 100 << 20  # the format's own


def write_weights(path: Path, tensors: Mapping[str, TensorData]) -> None:
    """Writes the tensors; the same ones give the same bytes. One tensor at a time is in memory.

    Raises:
        CnnirError: the file cannot be written; then there is none.
    """
    # Wide elements first, as the format advises, so that every tensor is aligned to its element.
    order = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, object] = {}
    offset = 0
    for name, data in order:
        end = offset + math.prod(data.shape) * data.dtype.itemsize
        header[name] = {"dtype": _NAMES[data.dtype], "shape": list(data.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with atomic_writer(path) as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, data in order:
                array = np.ascontiguousarray(data.numpy(), data.dtype.numpy.newbyteorder("<"))
                file.write(array.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise write_error(path, error) from error


def read_weights(path: Path) -> dict[str, TensorData]:
    """The tensors of a safetensors file by name, in the file's order; elements are read when they are used.

    Raises:
        CnnirError: the file cannot be read, is damaged, or has an element type that the IR does not.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise _damaged(path, "its header is missing or cut off")
            text = file.read(length)
        elements = np.memmap(path, np.uint8, "r", offset=8 + length) if size > 8 + length else np.empty(0, np.uint8)
    except OSError as error:
        raise CnnirError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}.") from error
    try:
        header = json.loads(text)
    except ValueError as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table of tensors")
    return {
        name: _tensor(path, name, entry, np.asarray(elements))
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _tensor(path: Path, name: str, entry: object, elements: Array) -> TensorData:
    match entry:
        case {"dtype": str(type_name), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if all(
            isinstance(d, int) and d >= 0 for d in shape
        ):
            pass
        case _:
            raise _damaged(path, f"the entry of '{name}' is malformed")
    dtype = _DTYPES.get(type_name)
    if dtype is None:
        raise CnnirError(
            f"Tensor '{name}' has elements of type {type_name}, which is not supported.",
            at=path,
            hints=[f"Supported: {', '.join(_DTYPES)}."],
        )
    if not 0 <= begin <= end <= elements.size or end - begin != math.prod(shape) * dtype.itemsize:
        raise _damaged(path, f"'{name}' lies outside the file or is too short for its shape {shape}")
    return ArrayData(elements[begin:end].view(dtype.numpy.newbyteorder("<")).reshape(shape))


def _damaged(path: Path, why: str) -> CnnirError:
    return CnnirError(f"'{path}' is not a whole safetensors file: {why}.")
