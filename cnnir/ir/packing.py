"""Arrays in the physical layout of `cnnir.ir.Layout`, and back."""

from __future__ import annotations

import numpy as np

from cnnir.ir.types import Array, Layout, TensorType


def to_physical(array: Array, layout: Layout) -> Array:
    """Lays a logical NCHW array out as `[N, ceil(C/b), top+H+bottom, left+W+right, b]`, contiguous.

    Channels past C and the halo are zero. A plain layout gives a contiguous array of the same shape (any rank).
    """
    if layout.is_plain:
        return np.ascontiguousarray(array)
    n, c, h, w = array.shape
    top, left, bottom, right = layout.halo
    b = layout.block
    blocks = -(-c // b)
    out = np.zeros((n, blocks, top + h + bottom, left + w + right, b), array.dtype)
    padded = np.pad(array, ((0, 0), (0, blocks * b - c), (0, 0), (0, 0)))
    out[:, :, top : top + h, left : left + w] = padded.reshape(n, blocks, b, h, w).transpose(0, 1, 3, 4, 2)
    return out


def from_physical(array: Array, type: TensorType) -> Array:
    """The logical NCHW array of elements that lie in memory as `type` says (any shape of the right size)."""
    array = array.reshape(type.physical_shape)
    if type.layout.is_plain:
        return array
    n, c, h, w = type.shape
    top, left, _, _ = type.layout.halo
    inner = array[:, :, top : top + h, left : left + w]
    return np.ascontiguousarray(inner.transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)[:, :c])
