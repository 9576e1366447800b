"""Axes cut into tiles of nearly equal size, and work units decoded into tile numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """An axis of `extent` cut into as few tiles of at most `limit` as possible, equal but for one element.

    The first `big` tiles have `size + 1` elements, the others `size`.
    """

    extent: int
    limit: int

    @property
    def count(self) -> int:
        return -(-self.extent // self.limit)

    @property
    def size(self) -> int:
        return self.extent // self.count

    @property
    def big(self) -> int:
        return self.extent % self.count

    def start(self, tile: str) -> str:
        """TVMScript of the first element of a tile, from that of its number."""
        if self.count == 1:
            return "0"
        return f"({tile} * {self.size} + T.min({tile}, {self.big}))" if self.big else f"({tile} * {self.size})"

    def length(self, tile: str) -> str:
        """TVMScript of the number of elements of a tile."""
        return f"T.Select({tile} < {self.big}, {self.size + 1}, {self.size})" if self.big else str(self.size)

    def variants(self, tile: str) -> list[tuple[str, int]]:
        """The distinct tile sizes, each with the condition (TVMScript, "" if always true) on the tile number."""
        if not self.big:
            return [("", self.size)]
        return [(f"{tile} < {self.big}", self.size + 1), (f"{tile} >= {self.big}", self.size)]


def decode(unit: str, axes: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    """Names and TVMScript expressions of the coordinates of a work unit; `axes` from the outermost inwards."""
    coordinates = []
    inner = math.prod(extent for _, extent in axes)
    outermost = True
    for name, extent in axes:
        inner //= extent
        if extent == 1:
            coordinates.append((name, "0"))
            continue
        value = unit if inner == 1 else f"({unit}) // {inner}"
        coordinates.append((name, value if outermost else f"({value}) % {extent}"))
        outermost = False
    return coordinates
