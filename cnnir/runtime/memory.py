"""Memory that kernels may use: aligned, and in huge pages where the system grants them."""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

ALIGNMENT = 64
"""Bytes: a cache line, and what generated code assumes of every tensor (it uses aligned vector moves)."""

HUGE_PAGE = 2 << 20


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Like `numpy.empty`, beginning at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * math.prod(shape)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)


def huge_empty(size: int) -> NDArray[np.float32]:
    """`size` zeroed float32 elements at a multiple of 2 MiB, in huge pages if the system has them to give.

    Pages that are never touched cost nothing. The memory goes back when the last view of it does.
    """
    nbytes = 4 * size
    # Whole huge pages only: the kernel backs no part of one.
    length = -(-nbytes // HUGE_PAGE) * HUGE_PAGE if nbytes >= HUGE_PAGE else nbytes
    memory = mmap.mmap(-1, length + (HUGE_PAGE if nbytes >= HUGE_PAGE else 0))
    if nbytes >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without transparent huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    data = np.frombuffer(memory, np.uint8)
    begin = -data.ctypes.data % (HUGE_PAGE if nbytes >= HUGE_PAGE else ALIGNMENT)
    return data[begin : begin + nbytes].view(np.float32)


def is_direct(array: Array) -> bool:
    """Whether generated code may read and write the array where it lies."""
    flags = array.flags
    return flags.c_contiguous and flags.writeable and array.ctypes.data % ALIGNMENT == 0
