"""Checks of what the user wrote between a layer's parentheses, in words and at the user's line."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Sequence
from typing import Literal

from cnnir.errors import CnnirError
from cnnir.ir import Loc
from cnnir.ops.spatial import NO_PADS, Pads, Pair

Size = int | Sequence[int]
"""One integer for height and width, or `(height, width)`."""

Padding = int | Sequence[int] | Literal["same", "valid"]
"""One integer, (height, width), (top, left, bottom, right), or "same" or "valid" as TensorFlow means them."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def integer(value: object, what: str, loc: Loc, *, minimum: int = 1) -> int:
    """`value` as an integer of at least `minimum`."""
    if not _is_integer(value, minimum):
        raise _unexpected(what, "a positive integer" if minimum == 1 else "an integer of at least 0", value, loc)
    return int(value)  # type: ignore[call-overload, no-any-return]  # checked above


def pair(value: object, what: str, loc: Loc, *, minimum: int = 1) -> Pair:
    """`value` as (height, width)."""
    if _is_integer(value, minimum):
        return int(value), int(value)  # type: ignore[call-overload]  # checked above
    if isinstance(value, Sequence) and len(value) == 2 and all(_is_integer(v, minimum) for v in value):
        return int(value[0]), int(value[1])
    sign = "positive integer" if minimum == 1 else "integer of at least 0"
    raise _unexpected(what, f"one {sign} or two (height, width)", value, loc)


def check_padding(value: object, what: str, loc: Loc) -> None:
    """Refuses what is no `Padding`."""
    if isinstance(value, str):
        if value in ("same", "valid"):
            return
    elif _is_integer(value, 0) or (
        isinstance(value, Sequence) and len(value) in (2, 4) and all(_is_integer(v, 0) for v in value)
    ):
        return
    wanted = "an integer of at least 0, (height, width), (top, left, bottom, right), 'same' or 'valid'"
    raise _unexpected(what, wanted, value, loc)


def pads(padding: Padding, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
    """A checked `Padding` as (top, left, bottom, right) for an image of that size (height, width).

    "same" gives ceil(size / stride) pixels; where the padding is odd the extra row or column goes to the end.
    """
    if padding == "valid":
        return NO_PADS
    if isinstance(padding, str):
        before, after = [], []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
            before.append(total // 2)
            after.append(total - total // 2)
        return before[0], before[1], after[0], after[1]
    if isinstance(padding, int):
        return padding, padding, padding, padding
    top, left, bottom, right = padding if len(padding) == 4 else (*padding, *padding)
    return int(top), int(left), int(bottom), int(right)


def number(value: object, what: str, loc: Loc) -> float:
    """`value` as a finite float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise _unexpected(what, "a number", value, loc)
    return float(value)


def flag(value: object, what: str, loc: Loc) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(what, "True or False", value, loc)
    return value


def check_name(value: object, loc: Loc) -> None:
    """Refuses names that could not be the name of a parameter."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _unexpected("name", "letters, digits, '_' and '-' in parts joined by '.'", value, loc)


def _is_integer(value: object, minimum: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= minimum


def _unexpected(what: str, wanted: str, got: object, loc: Loc) -> CnnirError:
    return CnnirError(f"Expected '{what}' to be {wanted}, got {got!r}.", at=loc)
