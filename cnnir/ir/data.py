"""Where the elements of a constant come from: an array, a seeded initialiser, a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from cnnir.ir.types import Array, DType


@runtime_checkable
class TensorData(Protocol):
    """The elements of a constant; `numpy()` may compute or read them on first use. Never mutated, so shared."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> DType: ...

    def numpy(self) -> Array: ...


class ArrayData:
    """Elements held in (or memory-mapped as) a NumPy array, which becomes read-only."""

    def __init__(self, array: Array) -> None:
        self._array = array.view()
        self._array.flags.writeable = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> DType:
        return DType.of(self._array.dtype)

    def numpy(self) -> Array:
        return self._array


@dataclass(frozen=True)
class LazyData:
    """Elements computed by `load` when first asked for, then kept."""

    shape: tuple[int, ...]
    dtype: DType
    load: Callable[[], Array]

    @cached_property
    def _array(self) -> Array:
        array = np.ascontiguousarray(self.load(), dtype=self.dtype.numpy)
        if array.shape != self.shape:
            raise ValueError(f"expected shape {self.shape}, got {array.shape}")
        array.flags.writeable = False
        return array

    def numpy(self) -> Array:
        return self._array


def digest(data: TensorData) -> str:
    """SHA-256 over element type, shape and bytes: equal digests mean equal constants."""
    array = np.ascontiguousarray(data.numpy())
    h = hashlib.sha256(f"{data.dtype}{list(data.shape)}".encode())
    h.update(array.reshape(-1).view(np.uint8).data)
    return h.hexdigest()
