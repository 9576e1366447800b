"""A picture of networks: cost across, accuracy upwards, parameters as the area of a bubble.

After Canziani, Paszke and Culurciello 2016, An Analysis of Deep Neural Network Models for Practical Applications,
arXiv 1605.07678, figure 2.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

import jinja2

from cnnir.errors import CnnirError

WIDTH, HEIGHT = 1280, 860
LEFT, RIGHT, TOP, BOTTOM = 84, 30, 84, 70
FONT = 12
PIXELS_PER_PARAMETER = math.pi * 34.0**2 / 140e6
"""Area of a bubble: 140 million parameters (VGG) have a radius of 34 pixels, in every picture."""

ORDERS = 5
"""How many orders of placing labels are tried."""

PALETTE = (
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#b07aa1",
    "#9c755f", "#d37295", "#8cd17d", "#b6992d", "#499894", "#79706e",
)  # fmt: skip


@dataclass(frozen=True)
class Bubble:
    """A network: `x` is its cost, `y` its accuracy in percent, `params` the number of its parameters."""

    name: str
    family: str
    x: float
    y: float
    params: int


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def cut_by(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether the segment passes through (clipping by Liang and Barsky)."""
        low, high = 0.0, 1.0
        for a, b, first, last in (
            (start[0], end[0], self.left, self.right),
            (start[1], end[1], self.top, self.bottom),
        ):
            if a == b:
                if not first < a < last:
                    return False
                continue
            near, far = sorted(((first - a) / (b - a), (last - a) / (b - a)))
            low, high = max(low, near), min(high, far)
        return low < high


@dataclass(frozen=True)
class Drawn:
    """A bubble with its place in the picture, and where its label went."""

    bubble: Bubble
    x: float
    y: float
    radius: float
    colour: str
    label: Box
    leader: tuple[float, float] | None = field(default=None)
    """Where a line from the bubble's centre meets the label, if the label is not beside the bubble."""


def text_width(text: str) -> float:
    """The width of a label in pixels; the picture makes the viewer's font fill just that."""
    thousandths = {
        "i": 278,
        "l": 278,
        "j": 278,
        "t": 392,
        "f": 352,
        "r": 411,
        "m": 974,
        "w": 818,
        "_": 500,
        ".": 318,
    }
    return sum(FONT * thousandths.get(c, 630) / 1000 for c in text)


def radius_of(params: float) -> float:
    """In pixels."""
    return math.sqrt(params * PIXELS_PER_PARAMETER / math.pi)


def place(bubbles: Sequence[Bubble]) -> list[Drawn]:
    """Finds a place for every bubble and label; no label is on top of another, or of a bubble's centre.

    Labels go one after the other, the most crowded bubble's first, each to the cheapest of the places around its
    bubble: near, off other bubbles, and with a line that crosses neither labels nor other lines. Of some orders
    among equally crowded ones the cheapest counts. The same bubbles give the same picture.
    """
    if not bubbles:
        raise CnnirError("There is nothing to draw: no model has a published accuracy.")
    x_axis, y_axis = axes(bubbles)
    families = sorted({b.family for b in bubbles})
    spots = [(x_axis.at(b.x), y_axis.at(b.y), max(radius_of(b.params), 2.5)) for b in bubbles]
    crowd = [sum(math.dist(p[:2], q[:2]) < 90 for q in spots) for p in spots]
    shuffle = random.Random(0)
    attempts = []
    for _ in range(ORDERS):
        order = sorted(range(len(bubbles)), key=lambda i: -crowd[i] + 3 * shuffle.random())
        attempts.append(_place_in_order(order, bubbles, spots))
    _, taken = min(attempts, key=lambda attempt: attempt[0])
    return [
        Drawn(b, *spots[i], PALETTE[families.index(b.family) % len(PALETTE)], *taken[i])
        for i, b in enumerate(bubbles)
    ]


Spot = tuple[float, float, float]
Segment = tuple[tuple[float, float], tuple[float, float]]


Place = tuple[Box, tuple[float, float] | None]
"""Of a label, and where the line from its bubble ends, if it has one."""


def _place_in_order(
    order: Sequence[int], bubbles: Sequence[Bubble], spots: Sequence[Spot]
) -> tuple[float, dict[int, Place]]:
    total, taken = 0.0, dict[int, Place]()
    for i in order:
        lines = [(spots[j][:2], end) for j, (_, end) in taken.items() if end is not None]
        cost, box, end = _label(i, bubbles[i].name, spots, [box for box, _ in taken.values()], lines)
        taken[i] = box, end
        total += cost
    return total, taken


def _label(
    i: int, name: str, spots: Sequence[Spot], labels: Sequence[Box], lines: Sequence[Segment]
) -> tuple[float, Box, tuple[float, float] | None]:
    x, y, radius = spots[i]
    width, height = text_width(name), FONT * 1.25
    frame = Box(LEFT + 2, TOP + 2, WIDTH - RIGHT - 2, HEIGHT - BOTTOM - 2)
    best: tuple[float, Box, tuple[float, float] | None] | None = None
    for gap in (3, 8, 14, 22, 32, 44, 58, 74, 92, 112, 140, 170, 210, 260):
        for turn in range(24):
            angle = turn * math.pi / 12
            # The centre of the label, so far that the nearest point of its edge is `gap` from the bubble.
            reach = radius + gap
            cx = x + math.cos(angle) * (reach + width / 2)
            cy = y - math.sin(angle) * (reach + height / 2)
            box = Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            inside = box.left >= frame.left and box.right <= frame.right
            inside = inside and box.top >= frame.top and box.bottom <= frame.bottom
            if not inside or any(box.overlap(other) for other in labels):
                continue
            if any(_grow(qx, qy, min(r, 4.0)).overlap(box) for qx, qy, r in spots):
                continue
            others = [spot for j, spot in enumerate(spots) if j != i]
            covered = sum(box.overlap(_grow(qx, qy, r * 0.8)) for qx, qy, r in others)
            # A line tells whose label it is, where it is far from its bubble or nearer to another.
            own = math.dist((x, y), _edge(box, x, y)) - radius
            mistaken = any(math.dist((qx, qy), _edge(box, qx, qy)) - r < own + 4 for qx, qy, r in others)
            end = _edge(box, x, y) if gap > 8 or mistaken or covered else None
            cost = gap + covered / 20 + (20 if own < 2 else 0)
            cost += 400 * sum(box.cut_by(*line) for line in lines)
            if end is not None:
                cost += 30 + 400 * sum(other.cut_by((x, y), end) for other in labels)
                cost += 150 * sum(_cross(((x, y), end), line) for line in lines)
                cost += 60 * sum(
                    _grow(qx, qy, r / 2).cut_by(_beyond(x, y, end, radius), end) for qx, qy, r in others
                )
            if best is None or cost < best[0]:
                best = (cost, box, end)
        if best is not None and best[0] < gap:
            break
    if best is None:
        raise CnnirError(f"There is no place for the label of '{name}'.", hints=["Draw fewer models: --family."])
    return best


def _beyond(x: float, y: float, end: tuple[float, float], radius: float) -> tuple[float, float]:
    """Where the line from a bubble's centre leaves the bubble."""
    share = min(1.0, radius / max(math.dist((x, y), end), 1e-9))
    return x + share * (end[0] - x), y + share * (end[1] - y)


def _cross(a: Segment, b: Segment) -> bool:
    def side(line: Segment, p: tuple[float, float]) -> float:
        (x0, y0), (x1, y1) = line
        return (x1 - x0) * (p[1] - y0) - (y1 - y0) * (p[0] - x0)

    return side(a, b[0]) * side(a, b[1]) < 0 and side(b, a[0]) * side(b, a[1]) < 0


def _grow(x: float, y: float, radius: float) -> Box:
    return Box(x - radius, y - radius, x + radius, y + radius)


def _edge(box: Box, x: float, y: float) -> tuple[float, float]:
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)


@dataclass(frozen=True)
class Axis:
    """Values to pixels; `ticks` are values."""

    low: float
    high: float
    begin: float
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        scale = math.log if self.logarithmic else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.begin + share * (self.end - self.begin)


def axes(bubbles: Sequence[Bubble]) -> tuple[Axis, Axis]:
    """The cost, on a logarithmic scale, and the accuracy."""
    low, high = min(b.x for b in bubbles), max(b.x for b in bubbles)
    if low <= 0:
        raise CnnirError("Expected costs above 0.")
    # At least a decade, so that the axis has some ticks.
    margin = max(1.0, math.sqrt(10 * low / high))
    low, high = low / 1.5 / margin, high * 1.8 * margin
    ticks = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high))) for m in (1, 2, 5)
    ]
    x = Axis(low, high, LEFT, WIDTH - RIGHT, tuple(t for t in ticks if low <= t <= high), logarithmic=True)
    bottom = 5 * math.floor((min(b.y for b in bubbles) - 2) / 5)
    top = 5 * math.ceil((max(b.y for b in bubbles) + 2) / 5)
    y = Axis(bottom, top, HEIGHT - BOTTOM, TOP, tuple(float(t) for t in range(bottom, top + 1, 5)))
    return x, y


def svg(bubbles: Sequence[Bubble], *, x_title: str, title: str) -> str:
    """The picture as an SVG document, 1280 by 860 pixels."""
    drawn = place(bubbles)
    x_axis, y_axis = axes(bubbles)
    legend: list[tuple[float, float, str]] = []
    end = float(WIDTH - RIGHT)
    for params in (140e6, 60e6, 25e6, 5e6):
        radius = radius_of(params)
        legend.append((end - 50 - radius, radius, f"{params / 1e6:g} M"))
        end -= 50 + 2 * radius + 20
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("cnnir.inspect").joinpath("bubbles.svg.j2").read_text("utf-8")
    return environment.from_string(template).render(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        font=FONT,
        title=title,
        x_title=x_title,
        x_ticks=[(x_axis.at(t), f"{t:g}") for t in x_axis.ticks],
        y_ticks=[(y_axis.at(t), f"{t:g}") for t in y_axis.ticks],
        # Small ones last, so that none is hidden.
        drawn=sorted(drawn, key=lambda d: -d.radius),
        legend=legend,
        legend_begin=end,
    )
