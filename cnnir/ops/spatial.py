"""Arithmetic of sliding windows: output sizes, padding conventions, patches."""

from __future__ import annotations

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, TensorType

Pair = tuple[int, int]
"""Height and width."""

Pads = tuple[int, int, int, int]
"""Top, left, bottom, right: the order of ONNX."""

NO_PADS: Pads = (0, 0, 0, 0)


def check_window(kernel_size: Pair, stride: Pair, dilation: Pair, pads: Pads) -> None:
    """Refuses impossible windows in words."""
    for name, values in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if len(values) != 2 or any(v < 1 for v in values):
            raise ShapeError(f"Expected {name} as two positive integers, got {values}.")
    if len(pads) != 4 or any(p < 0 for p in pads):
        raise ShapeError(f"Expected pads as four integers of at least 0, got {pads}.")


def output_size(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, *, ceil: bool = False
) -> int:
    """Length of one output axis.

    With `ceil`, the last window may hang over the end, but must begin inside the input or its leading padding
    (the rule of PyTorch and of ONNX since opset 19).
    """
    span = size + before + after - (dilation * (kernel - 1) + 1)
    if span < 0:
        raise ShapeError(
            f"The window does not fit: input {size} with padding {before}+{after} is smaller than "
            f"kernel {kernel}{f' dilated by {dilation}' if dilation > 1 else ''}."
        )
    out = -(-span // stride) + 1 if ceil else span // stride + 1
    if ceil and (out - 1) * stride >= size + before:
        out -= 1
    return out


def image(x: TensorType | None, what: str) -> TensorType:
    """`x` itself, if it is a 4-D image tensor."""
    if x is None or x.rank != 4:
        raise ShapeError(f"'{what}' needs a 4-D input (N, C, H, W), got {x}.")
    return x


def pad_image(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """Pads the two spatial axes of an NCHW array."""
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def patches(x: Array, kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> Array:
    """Read-only view `[N, C, OH, OW, KH, KW]` of every window of an already padded NCHW array."""
    n, c, _, _ = x.shape
    sn, sc, sh, sw = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (n, c, *out, *kernel),
        (sn, sc, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1]),
        writeable=False,
    )
