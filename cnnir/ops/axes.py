"""Arithmetic of axes and shapes, with the symbolic batch size passing through."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnnir.errors import ShapeError
from cnnir.ir import BATCH, TensorType, Window

Shape = tuple[int, ...]


def shape_text(shape: Sequence[int]) -> str:
    """`[N,3,224,224]`, as types print it."""
    return f"[{','.join('N' if i == 0 and d == BATCH else str(d) for i, d in enumerate(shape))}]"


def normal_axis(axis: int, rank: int, what: str) -> int:
    """The axis counted from the front; `ShapeError` if a tensor of that rank does not have it."""
    if not -rank <= axis < rank:
        raise ShapeError(f"'{what}' names axis {axis}, but the input has {rank} dimensions.")
    return axis % rank


def normal_axes(axes: Sequence[int], rank: int, what: str) -> Shape:
    """The axes counted from the front, in order; each at most once."""
    normal = tuple(sorted(normal_axis(a, rank, what) for a in axes))
    if len(set(normal)) != len(normal):
        raise ShapeError(f"'{what}' names an axis twice: {list(axes)} of {rank} dimensions.")
    return normal


def check_distinct(axes: Sequence[int], what: str) -> None:
    """For `__post_init__`: at least one axis, none written twice."""
    if not axes:
        raise ShapeError(f"'{what}' needs at least one axis.")
    if len(set(axes)) != len(axes):
        raise ShapeError(f"'{what}' names an axis twice: {list(axes)}.")


def refuse_batch(x: TensorType, axis: int, doing: str) -> None:
    """Refuses, in words, to do something along a batch axis whose size is not known yet."""
    if axis == 0 and not x.is_static:
        raise ShapeError(f"{doing} axis 0 of {x} is not possible while the batch size N is unknown.")


def same_dtype(what: str, *types: TensorType | None) -> None:
    """Refuses operands of different element types."""
    present = [t for t in types if t is not None]
    if any(t.dtype != present[0].dtype for t in present):
        raise ShapeError(f"'{what}' needs operands of one element type, got {' and '.join(map(str, present))}.")


def broadcast(a: TensorType, b: TensorType, what: str) -> Shape:
    """The shape of both after NumPy broadcasting. An unknown batch size only matches itself, 1, or nothing."""
    rank = max(a.rank, b.rank)
    dims: list[int] = []
    for i in range(rank):
        da = a.shape[i - rank + a.rank] if i >= rank - a.rank else 1
        db = b.shape[i - rank + b.rank] if i >= rank - b.rank else 1
        if da != db and 1 not in (da, db):
            why = " while the batch size N is unknown" if BATCH in (da, db) else ""
            raise ShapeError(f"'{what}' cannot broadcast {a} with {b}: axis {i} does not fit{why}.")
        dims.append(db if da == 1 else da)
        if dims[-1] == BATCH and i > 0:
            raise ShapeError(f"'{what}' cannot broadcast {a} with {b}: the batch axis would not come first.")
    return tuple(dims)


def product(shape: Sequence[int]) -> int:
    """Number of elements of a static shape."""
    return math.prod(shape)


def whole_plane(x: TensorType) -> Window | None:
    """The window of an operator that mixes every pixel of an image `[N, C, H, W]`; `None` if `x` is no image."""
    return Window((x.shape[-2], x.shape[-1])) if x.rank >= 4 else None


def window_along(x: TensorType, axes: Sequence[int]) -> Window | None:
    """The window of an operator that mixes all pixels along some of the axes (counted from the front)."""
    if x.rank < 4 or not set(axes) & {x.rank - 2, x.rank - 1}:
        return None
    return Window((x.shape[-2] if x.rank - 2 in axes else 1, x.shape[-1] if x.rank - 1 in axes else 1))
