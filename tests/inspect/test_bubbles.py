"""The picture of networks: labels legible, none on top of another."""

from __future__ import annotations

import itertools
import math
import random
from xml.etree import ElementTree

import pytest

from cnnir.errors import CnnirError
from cnnir.inspect.bubbles import FONT, Box, Bubble, axes, place, svg, text_width

SVG = "{http://www.w3.org/2000/svg}"

# Pairs that lie on one spot, a dense row, and single ones at the edges.
CROWDED = [
    *(Bubble(f"vgg{d}", "vgg", d * 1.0, 69 + d / 4, 138_000_000) for d in (11, 13, 16, 19)),
    *(Bubble(f"vgg{d}_bn", "vgg", d * 1.0, 70 + d / 4, 138_000_000) for d in (11, 13, 16, 19)),
    *(Bubble(f"caffenet128_variant_{i}", "caffenet", 0.21, 47 + 0.3 * i, 13_000_000) for i in range(7)),
    Bubble("twin_a", "twins", 1.0, 60.0, 5_000_000),
    Bubble("twin_b", "twins", 1.0, 60.0, 5_000_000),
    Bubble("mobilenet_v1_0.25", "mobilenet", 0.04, 50.6, 500_000),
    Bubble("largest_and_best_of_all", "x", 40.0, 84.0, 90_000_000),
]  # fmt: skip


def test_boxes() -> None:
    box = Box(0, 0, 10, 4)
    assert box.overlap(Box(8, 2, 20, 20)) == 4
    assert box.overlap(Box(10, 0, 20, 4)) == 0
    assert box.cut_by((-5, 2), (15, 2))
    assert box.cut_by((5, 2), (5, 3))
    assert not box.cut_by((-5, 5), (15, 5))
    assert not box.cut_by((-5, 2), (-1, 2))
    assert not box.cut_by((0, 20), (20, -2))


def check(bubbles: list[Bubble]) -> None:
    drawn = place(bubbles)
    assert [d.bubble for d in drawn] == bubbles
    for a, b in itertools.combinations(drawn, 2):
        assert a.label.overlap(b.label) == 0, f"{a.bubble.name} on {b.bubble.name}"
    for d, other in itertools.product(drawn, drawn):
        x, y = other.x, other.y
        assert not (d.label.left < x < d.label.right and d.label.top < y < d.label.bottom)
        if d.leader is None:  # then the label touches its own bubble, nearly
            x, y = min(max(d.x, d.label.left), d.label.right), min(max(d.y, d.label.top), d.label.bottom)
            assert math.dist((d.x, d.y), (x, y)) <= d.radius + 16
    for d in drawn:
        assert d.label.left >= 0
        assert d.label.top >= 0
        assert d.label.right <= 1280
        assert d.label.bottom <= 860
        assert d.label.right - d.label.left == pytest.approx(text_width(d.bubble.name))
        assert d.label.bottom - d.label.top >= FONT


def test_no_label_is_on_top_of_another() -> None:
    check(CROWDED)


@pytest.mark.parametrize("seed", range(3))
def test_nor_in_random_pictures(seed: int) -> None:
    rng = random.Random(seed)
    bubbles = []
    for i in range(45):
        name = f"network_{i}" + "_wide" * rng.randrange(3)
        cost, accuracy, params = 10 ** rng.gauss(0, 0.4), rng.gauss(70, 4), rng.randrange(10**6, 10**8)
        bubbles.append(Bubble(name, f"f{i % 5}", cost, accuracy, params))
    check(bubbles)


def test_area_is_proportional_to_the_parameters() -> None:
    small, large = place([Bubble("a", "a", 1.0, 60.0, 10**7), Bubble("b", "b", 2.0, 70.0, 4 * 10**7)])
    assert large.radius == pytest.approx(2 * small.radius)


def test_axes() -> None:
    bubbles = [Bubble("a", "a", 0.1, 50.0, 1), Bubble("b", "b", 1.0, 60.0, 1), Bubble("c", "c", 10.0, 70.0, 1)]
    x, y = axes(bubbles)
    assert x.at(1.0) - x.at(0.1) == pytest.approx(x.at(10.0) - x.at(1.0))
    assert y.at(60) - y.at(50) == pytest.approx(y.at(70) - y.at(60))
    assert y.at(70) < y.at(50)
    assert {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0} == set(x.ticks)


def test_the_document() -> None:
    text = svg(CROWDED, x_title="GMACs <here>", title="Models & accuracy")
    assert text == svg(CROWDED, x_title="GMACs <here>", title="Models & accuracy")
    root = ElementTree.fromstring(text)
    labels = [e for e in root.iter(f"{SVG}text") if e.get("class") == "label"]
    assert {e.text for e in labels} == {b.name for b in CROWDED}
    for e in labels:  # the viewer's font fills the box that was kept free
        assert float(e.attrib["textLength"]) == pytest.approx(text_width(e.text or ""), abs=0.06)
    texts = {e.text for e in root.iter(f"{SVG}text")}
    assert {"GMACs <here>", "Models & accuracy"} <= texts


def test_mistakes() -> None:
    with pytest.raises(CnnirError, match="nothing to draw"):
        place([])
    with pytest.raises(CnnirError, match="costs above 0"):
        place([Bubble("a", "a", 0.0, 60.0, 1)])
