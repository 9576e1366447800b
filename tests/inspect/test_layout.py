"""Places of nodes: layers by the longest path, straight chains, no two nodes on top of each other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnir.inspect.layout import LINE_GAP, MIXED_GAP, NODE_GAP, layout


def test_a_chain_is_one_column() -> None:
    placed = layout(4, [(0, 1), (1, 2), (2, 3)])
    assert placed.at == ((0.0, 0), (0.0, 1), (0.0, 2), (0.0, 3))
    assert placed.routes[0] == ((0.0, 0), (0.0, 1))
    assert (placed.width, placed.depth) == (0.0, 3)


def test_a_shortcut_runs_beside_a_straight_trunk() -> None:
    """x -> a -> b -> add, and x -> add."""
    placed = layout(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert placed.at == ((0.0, 0), (0.0, 1), (0.0, 2), (0.0, 3))
    beside = MIXED_GAP
    assert placed.routes[3] == ((0.0, 0), (beside, 1), (beside, 2), (0.0, 3))


def test_branches_are_beside_each_other() -> None:
    """x -> a, b, c -> concat."""
    placed = layout(5, [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)])
    assert [y for _, y in placed.at] == [0, 1, 1, 1, 2]
    assert sorted(x for x, _ in placed.at[1:4]) == [0.0, NODE_GAP, 2 * NODE_GAP]


def test_crossings_are_undone() -> None:
    """Two chains that the order of numbers would cross: 0 -> 3, 1 -> 2."""
    (x0, _), (x1, _), (x2, _), (x3, _) = layout(4, [(0, 3), (1, 2)]).at
    assert (x0 < x1) == (x3 < x2) and x0 != x1 and x2 != x3


def test_lines_of_one_vertex_share_their_way() -> None:
    placed = layout(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 3), (0, 5)])
    assert placed.routes[5][1] == placed.routes[6][1]


def test_edges_go_down() -> None:
    with pytest.raises(ValueError, match="lower to a higher"):
        layout(2, [(1, 0)])
    assert layout(0, []).at == ()


EDGES = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda e: e[0] < e[1]), unique=True)


@given(EDGES)
def test_invariants(edges: list[tuple[int, int]]) -> None:
    placed = layout(15, edges)
    assert len(set(placed.at)) == 15
    for layer in {y for _, y in placed.at}:
        row = sorted(x for x, y in placed.at if y == layer)
        # A line may pass between two nodes, but none is nearer to another than its own width.
        assert all(b - a > NODE_GAP - 1e-9 for a, b in pairwise(row))
    for (a, b), route in zip(edges, placed.routes, strict=True):
        assert placed.at[a][1] < placed.at[b][1]
        assert (route[0], route[-1]) == (placed.at[a], placed.at[b])
        for (_, y0), (_, y1) in pairwise(route):
            assert y0 < y1
        for x, y in route[1:-1]:
            near = [abs(x - nx) for nx, ny in placed.at if ny == y]
            assert min(near, default=1.0) > min(MIXED_GAP, LINE_GAP * 2) - 1e-9
    longest = [0] * 15
    for a, b in sorted(edges, key=lambda e: e[1]):
        longest[b] = max(longest[b], longest[a] + 1)
    assert [y for _, y in placed.at] == longest
