"""Places for the nodes of a graph in a drawing from top to bottom: layers, order, columns.

Source: Sugiyama, Tagawa & Toda 1981 (layers, long edges through waypoints, barycentres); Brandes & Koepf 2001
(straight blocks, one of their four alignments: the trunk of a network is a straight column, branches are beside).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NODE_GAP = 1.0
"""Between the centres of two nodes beside each other; the unit of x."""
LINE_GAP = 0.12
"""Between two lines beside each other."""
MIXED_GAP = 0.62
"""Between the centre of a node and a line beside it."""
SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """`at` has (column, layer) of every vertex; `routes` the waypoints of every edge, its ends included."""

    at: tuple[tuple[float, int], ...]
    routes: tuple[tuple[tuple[float, int], ...], ...]

    @property
    def width(self) -> float:
        return max((x for x, _ in self.at), default=0.0)

    @property
    def depth(self) -> int:
        return max((y for _, y in self.at), default=0)


def layout(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Places `count` vertices, numbered in topological order; `edges` are (from, to) with from < to.

    A vertex is one layer below the lowest of those that it follows. Lines from one vertex to several layers share
    their waypoints.
    """
    if any(not 0 <= a < b < count for a, b in edges):
        raise ValueError("edges must go from a lower to a higher vertex")
    layer = [0] * count
    for a, b in sorted(edges, key=lambda e: e[1]):
        layer[b] = max(layer[b], layer[a] + 1)
    # Waypoints: one a layer for each vertex whose value is read further down.
    way: dict[tuple[int, int], int] = {}
    short: dict[tuple[int, int], None] = {}
    paths = []
    for a, b in edges:
        path = [a]
        for y in range(layer[a] + 1, layer[b]):
            point = way.setdefault((a, y), count + len(way))
            if point == len(layer):
                layer.append(y)
            path.append(point)
        path.append(b)
        paths.append(path)
        short.update(dict.fromkeys(pairwise(path)))
    rows = _order(layer, list(short), count)
    x = _columns(layer, list(short), rows, count)
    return Layout(
        tuple((x[v], layer[v]) for v in range(count)),
        tuple(_corners([(x[v], layer[v]) for v in path]) for path in paths),
    )


def _order(layer: Sequence[int], edges: Sequence[tuple[int, int]], count: int) -> list[list[int]]:
    """The vertices of every layer from left to right."""
    above: list[list[int]] = [[] for _ in layer]
    below: list[list[int]] = [[] for _ in layer]
    for a, b in edges:
        above[b].append(a)
        below[a].append(b)
    # Depth first, nodes before waypoints: what is computed starts on the left, what is only passed on to its right.
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    seen: set[int] = set()
    for root in (v for v in range(count) if not above[v]):
        stack = [root]
        while stack:
            v = stack.pop()
            if v in seen:
                continue
            seen.add(v)
            rows[layer[v]].append(v)
            stack += sorted(below[v], key=lambda w: (w < count, -w))
    place = {v: i for row in rows for i, v in enumerate(row)}
    best, fewest = [list(row) for row in rows], _crossings(rows, below, place)
    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = above if down else below

            def centre(v: int, near: list[list[int]] = near) -> float:
                return sum(place[w] for w in near[v]) / len(near[v]) if near[v] else place[v]

            row.sort(key=centre)
            place.update({v: i for i, v in enumerate(row)})
        crossings = _crossings(rows, below, place)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]], place: dict[int, int]) -> int:
    total = 0
    for row in rows:
        ends = [e for v in row for e in sorted(place[w] for w in below[v])]
        # Inversions; rows are short.
        total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :]) if len(ends) > 1 else 0
    return total


def _columns(
    layer: Sequence[int], edges: Sequence[tuple[int, int]], rows: Sequence[Sequence[int]], count: int
) -> list[float]:
    place = {v: i for row in rows for i, v in enumerate(row)}
    above: list[list[int]] = [[] for _ in layer]
    for a, b in edges:
        above[b].append(a)
    # Blocks: each vertex is put below the leftmost free one above it, so that no two such links cross.
    block = list(range(len(layer)))
    for row in rows[1:]:
        used = -1
        for v in row:
            for u in sorted(above[v], key=place.__getitem__):
                if place[u] > used:
                    block[v], used = block[u], place[u]
                    break
    follows: dict[int, dict[int, float]] = {b: {} for b in set(block)}
    for row in rows:
        for u, v in pairwise(row):
            lines = (u >= count) + (v >= count)
            gap = (NODE_GAP, MIXED_GAP, LINE_GAP)[lines]
            follows[block[v]][block[u]] = max(gap, follows[block[v]].get(block[u], 0.0))
    x: dict[int, float] = {}
    for start in follows:
        stack = [start]
        while stack:
            b = stack[-1]
            waiting = [left for left in follows[b] if left not in x]
            if b not in x and waiting:
                stack += waiting
                continue
            stack.pop()
            x.setdefault(b, max((x[left] + gap for left, gap in follows[b].items()), default=0.0))
    return [x[b] for b in block]


def _corners(path: Sequence[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """Without the waypoints in the middle of a straight run."""
    inner = [q for p, q, r in zip(path, path[1:], path[2:], strict=False) if not p[0] == q[0] == r[0]]
    return (path[0], *inner, path[-1])
