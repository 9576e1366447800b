"""The plot of cost against error along a pipeline, as places for a template to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 40


@dataclass(frozen=True, slots=True)
class Mark:
    """A point: its place, its label, and the sentence that a pointer over it shows."""

    x: float
    y: float
    label: str
    title: str


@dataclass(frozen=True)
class Plot:
    """Error upwards on a logarithmic scale, 0 on the line at the bottom; cost to the right."""

    axis: str
    marks: tuple[Mark, ...]
    path: tuple[tuple[float, float], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def plot(axis: str, unit: str, points: Sequence[tuple[str, float, float]]) -> Plot:
    """`points` are (label, cost, relative error), in the order of the pipeline; an infinite error is at the top.

    Points that would cover each other share a label.
    """
    costs = [c for _, c, _ in points]
    low, high = min(costs), max(costs)
    # At least 4% of the cost is shown, so that rounding does not look like a result.
    spare = max(0.06 * (high - low), 0.02 * high - (high - low) / 2, 1e-12)
    low, high = low - spare, high + spare
    errors = [e for _, _, e in points if 0 < e < math.inf]
    top = math.ceil(math.log10(max(errors, default=1e-6))) + 1
    bottom = min(math.floor(math.log10(min(errors, default=1e-8))) - 1, top - 3)

    def across(cost: float) -> float:
        return LEFT + (cost - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(exponent: float) -> float:
        return HEIGHT - BOTTOM - (exponent - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    def height(error: float) -> float:
        return up(bottom if error <= 0 else top if math.isinf(error) else math.log10(error))

    path = tuple((across(c), height(e)) for _, c, e in points)
    groups: list[list[int]] = []
    for i, at in enumerate(path):
        near = next((g for g in groups if math.dist(path[g[0]], at) < 16), None)
        groups.append([i]) if near is None else near.append(i)
    marks = []
    for group in groups:
        names = [points[i][0] for i in group]
        _, cost, error = points[group[-1]]
        label = (
            names[0]
            if len(names) == 1
            else f"{names[0]}, {names[1]}"
            if len(names) == 2
            else (f"{names[0]} … {names[-1]}")
        )
        title = f"{', '.join(names)}: {cost:.4g} {unit}, relative RMS error {error:.2g}"
        marks.append(Mark(*path[group[-1]], label, title))
    step = max(1, math.ceil((top - bottom) / 5))
    exponents = list(range(top, bottom, -step))
    return Plot(
        axis,
        tuple(marks),
        path,
        tuple((across(t), f"{t:.{digits}f}") for t, digits in _ticks(low, high)),
        ((up(bottom), "0"), *((up(e), f"1e{e}") for e in exponents)),
    )


def _ticks(low: float, high: float) -> list[tuple[float, int]]:
    """Three to six round numbers, with the decimals that they need."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step)
    return [(i * step, digits) for i in range(first, math.floor(high / step) + 1)]
