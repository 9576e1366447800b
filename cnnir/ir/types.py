"""Tensor types: element type, logical shape, physical layout."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnnir.errors import CnnirError

Array = NDArray[Any]

BATCH = -1
"""The one symbolic dimension: the batch size, allowed on axis 0 only; the text form writes it `N`."""


class DType(StrEnum):
    """Element types. The value is the name in the text form."""

    F64 = "f64"
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    I8 = "i8"
    U8 = "u8"
    I32 = "i32"
    I64 = "i64"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[Any]:
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self in (DType.F64, DType.F32, DType.F16, DType.BF16)

    @classmethod
    def of(cls, dtype: DTypeLike) -> DType:
        """The `DType` of a NumPy dtype; raises `CnnirError` for one that the IR does not have."""
        wanted = np.dtype(dtype)
        for name, known in _NUMPY.items():
            if known == wanted:
                return name
        raise CnnirError(f"Element type '{wanted}' is not supported.", hints=[f"Supported: {', '.join(cls)}."])


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F64: np.dtype(np.float64),
    DType.F32: np.dtype(np.float32),
    DType.F16: np.dtype(np.float16),
    DType.BF16: np.dtype(ml_dtypes.bfloat16),
    DType.I8: np.dtype(np.int8),
    DType.U8: np.dtype(np.uint8),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
}

Halo = tuple[int, int, int, int]
"""Zero border rows and columns kept around every plane in memory: top, left, bottom, right (as ONNX pads)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor lies in memory. Semantics never depend on it; only backends look at it.

    `block == 1` is plain row-major order (`NCHW` for images). `block == b` is `NCHWbc`: a 4-D tensor stored
    as `[N, ceil(C/b), top+H+bottom, left+W+right, b]` with the channels past `C` and the halo holding zeros.
    """

    block: int = 1
    halo: Halo = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        if self.block < 1 or any(h < 0 for h in self.halo) or (self.block == 1 and any(self.halo)):
            raise ValueError(f"invalid layout: block {self.block}, halo {self.halo}")

    @property
    def is_plain(self) -> bool:
        return self.block == 1

    def __str__(self) -> str:
        if self.is_plain:
            return "nchw"
        return f"nchw{self.block}c" + (f"+{','.join(map(str, self.halo))}" if any(self.halo) else "")


PLAIN = Layout()


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type, logical shape (static but for a leading `BATCH`), and layout."""

    dtype: DType
    shape: tuple[int, ...]
    layout: Layout = PLAIN

    def __post_init__(self) -> None:
        if any(d < 0 and not (d == BATCH and i == 0) for i, d in enumerate(self.shape)):
            raise ValueError(f"invalid shape {self.shape}")
        if not self.layout.is_plain and len(self.shape) != 4:
            raise ValueError(f"layout {self.layout} needs four dimensions, got {self.shape}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        return BATCH not in self.shape[:1]

    @property
    def size(self) -> int:
        """Number of elements; the batch size must be known."""
        if not self.is_static:
            raise ValueError(f"{self} has no size before the batch size is fixed")
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the logical elements (no halo, no channel padding)."""
        return self.size * self.dtype.itemsize

    @property
    def physical_shape(self) -> tuple[int, ...]:
        """The shape in memory, see `Layout`."""
        if self.layout.is_plain:
            return self.shape
        n, c, h, w = self.shape
        top, left, bottom, right = self.layout.halo
        b = self.layout.block
        return (n, -(-c // b), top + h + bottom, left + w + right, b)

    def with_batch(self, batch: int) -> TensorType:
        """The same type with the symbolic batch size replaced."""
        return self if self.is_static else replace(self, shape=(batch, *self.shape[1:]))

    def with_layout(self, layout: Layout) -> TensorType:
        return replace(self, layout=layout)

    def __str__(self) -> str:
        dims = ",".join("N" if d == BATCH else str(d) for d in self.shape)
        return f"{self.dtype}[{dims}]" + ("" if self.layout.is_plain else f"@{self.layout}")
