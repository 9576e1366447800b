"""The HTML report: well-formed, self-contained, safe with any name, and alive in a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cnnir.errors import CnnirError
from cnnir.frontends.source import load
from cnnir.inspect.html import (
    check_destination,
    embedded,
    error_text,
    percent,
    quantity,
    render,
    signed,
    write_html,
)
from cnnir.inspect.numerics import seeded_batches
from cnnir.inspect.plot import HEIGHT, LEFT, WIDTH, plot
from cnnir.inspect.report import Inspection, inspect_pipeline
from cnnir.passes.pipeline import parse_pipeline

VOID = {"meta", "link", "input", "br", "hr", "img"}
EVIL = "<script>alert('x')</script><!--\" & co"


class Strict(HTMLParser):
    """Every tag is closed in its order; keeps what was said between the tags of each element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.text[self.stack[-1]] = self.text.get(self.stack[-1], "") + data


def parsed(document: str) -> Strict:
    parser = Strict()
    parser.feed(document)
    parser.close()
    assert not parser.stack
    return parser


def data_of(document: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def resnet() -> Inspection:
    graph = load("resnet18", input_shape=(3, 32, 32)).graph
    return inspect_pipeline(
        graph, parse_pipeline("inference"), feeds=seeded_batches(graph, 2), data="seeded inputs"
    )


@pytest.fixture(scope="module")
def evil() -> Inspection:
    graph = load("lenet5").graph
    graph.name = EVIL
    for node in graph.nodes:
        node.name += EVIL
        node.output.name += EVIL
        node.origins = (node.name,)
    return inspect_pipeline(graph, parse_pipeline("inference"), data=EVIL)


def test_well_formed_and_self_contained(resnet: Inspection) -> None:
    document = render(resnet)
    page = parsed(document)
    assert document.startswith("<!DOCTYPE html>") and len(page.ids) == len(set(page.ids))
    assert "//" not in re.sub(r"^\s*//.*$", "", document, flags=re.MULTILINE), "an address or an unexpected comment"
    assert {value for name, value in page.attributes if name in ("src", "href")} == {"data:,"}
    assert "@import" not in document and "url(" not in document
    assert any(value.startswith("default-src 'none';") for _, value in page.attributes)
    for name, value in page.attributes:
        if name in ("aria-controls", "aria-labelledby", "for"):
            assert value in page.ids
    assert "resnet18" in page.text["h1"] and "fold-batch-norm" in page.text["b"]


def test_each_graph_is_there_once(resnet: Inspection) -> None:
    data = data_of(render(resnet))
    assert len(data["graphs"]) == len(resnet.states)
    assert len({json.dumps(g) for g in data["graphs"]}) == len(data["graphs"])
    changed = [v for v in resnet.views if v.record.changed]
    assert [(p["before"], p["after"]) for p in data["passes"]] == [(v.before, v.after) for v in changed]
    fold = next(p for p in data["passes"] if p["name"] == "fold-batch-norm")
    assert len(fold["touched"]["removed"]) == 20 and len(fold["touched"]["changed"]) == 20


def test_names_cannot_break_out(evil: Inspection) -> None:
    document = render(evil)
    page = parsed(document)
    assert document.count("<script") == 2 and document.count("</script>") == 2
    assert page.text["h1"] == EVIL
    data = data_of(document)
    assert any(EVIL in n["n"] for n in data["graphs"][0]["nodes"])
    assert json.loads(str(embedded({"a": EVIL + "\u2028"}))) == {"a": EVIL + "\u2028"}


def test_nothing_to_draw() -> None:
    graph = load("lenet5").graph
    page = parsed(render(inspect_pipeline(graph, ())))
    assert "No pass was run." in page.text["p"]


def test_destination(tmp_path: Path, resnet: Inspection) -> None:
    with pytest.raises(CnnirError, match="is a folder"):
        check_destination(tmp_path)
    with pytest.raises(CnnirError, match="There is no folder"):
        check_destination(tmp_path / "no" / "a.html")
    write_html(resnet, tmp_path / "a.html")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    assert (tmp_path / "a.html").stat().st_size < 400_000


def test_numbers() -> None:
    assert (quantity(25_557_032), quantity(512), quantity(9_633_792, "B")) == ("25.6 M", "512", "9.63 MB")
    assert (signed(-53), signed(1_200_000), signed(0)) == ("−53", "+1.2 M", "0")
    assert (percent(-0.663), percent(0.0002)) == ("−66.3%", "+0.02%")
    assert (error_text(0.0), error_text(3.14e-7), error_text(float("inf"))) == ("0", "3.1e-07", "infinite")


def test_plot_by_hand() -> None:
    drawn = plot("MACs, in G", "G", [("0", 4.0, 0.0), ("1", 4.0, 0.0), ("2", 3.0, 1e-3), ("3", 2.0, 1e-2)])
    assert [m.label for m in drawn.marks] == ["0, 1", "2", "3"]
    assert "1e-3" in [text for _, text in drawn.y_ticks] and drawn.y_ticks[0][1] == "0"
    first, _, middle, last = drawn.path
    assert first[1] == HEIGHT - 40 and middle[0] - last[0] == pytest.approx(first[0] - middle[0])
    # A decade is a decade.
    places = {text: y for y, text in drawn.y_ticks}
    assert middle[1] == pytest.approx(places["1e-3"]) and last[1] < middle[1]
    assert all(LEFT <= x <= WIDTH for x, _ in drawn.x_ticks)
    assert [text for _, text in drawn.x_ticks] == ["2", "3", "4"]


# -- in a browser

COUNT = "document.querySelectorAll('#{side} .node{more}').length"


def count(page: Any, side: str, more: str = "") -> int:
    return int(page.run(COUNT.format(side=side, more=more)))


def seen(page: Any, side: str, more: str) -> bool:
    """Whether the node is inside its pane."""
    return bool(
        page.run(
            f"(() => {{const r = document.querySelector('#{side} .node{more}').getBoundingClientRect(),"
            f" p = document.getElementById('{side}').getBoundingClientRect();"
            " return r.left >= p.left && r.right <= p.right && r.top >= p.top && r.bottom <= p.bottom;})()"
        )
    )


@pytest.fixture
def opened(page: Any, resnet: Inspection, tmp_path: Path) -> Any:
    write_html(resnet, tmp_path / "report.html")
    page.open(tmp_path / "report.html")
    return page


def test_nodes_are_drawn(opened: Any, resnet: Inspection) -> None:
    fold = next(i for i, v in enumerate(resnet.views, 1) if v.record.changed)
    view = resnet.views[fold - 1]
    graphs = resnet.states[view.before].graph, resnet.states[view.after].graph
    # The input and the output are drawn, too.
    assert [count(opened, s) for s in ("before", "after")] == [len(g.nodes) + 2 for g in graphs]
    assert count(opened, "before", ".removed") == 20 and count(opened, "after", ".changed") == 20
    assert seen(opened, "before", ".removed")
    last = max(i for i, v in enumerate(resnet.views, 1) if v.record.changed)
    opened.run(f"document.querySelector('[data-pass=\"{last}\"]').click()")
    assert count(opened, "after") == len(resnet.states[-1].graph.nodes) + 2
    assert opened.problems == []


def test_nothing_leaves_the_file(opened: Any, tmp_path: Path) -> None:
    opened.run("document.getElementById('query').focus()")
    assert [u for u in opened.requests if not u.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert opened.problems == []


def test_search(opened: Any) -> None:
    opened.press("/")
    assert opened.run("document.activeElement.id") == "query"
    opened.ask("Input.insertText", text="FC")
    assert count(opened, "after", ".hit") >= 1
    assert opened.run("document.querySelector('#after .chosen .id').textContent") == "fc"
    assert (
        seen(opened, "after", ".chosen") and opened.run("document.getElementById('found').textContent") == "1 of 1"
    )
    panel = opened.run("document.getElementById('panel').textContent")
    assert "Gemm" in panel and "f32[N,1000]" in panel and "513 k" in panel and "resnet" in panel
    opened.run("document.getElementById('query').value = ''")
    opened.ask("Input.insertText", text="maxpool")
    assert opened.run("document.querySelector('#after .chosen .op').textContent").startswith("MaxPool")
    opened.press("Escape")
    opened.ask("Input.insertText", text="no such thing")
    assert opened.run("document.getElementById('found').textContent") == "nothing found"
    assert opened.problems == []


def test_a_removed_node_shows_what_stands_for_it(opened: Any) -> None:
    opened.run("document.querySelector('#before .removed').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    name = opened.run("document.querySelector('#before .chosen .id').textContent")
    kept = opened.run("document.querySelector('#after .chosen .id').textContent")
    assert name != kept and name in opened.run(
        f"JSON.parse(document.getElementById('data').textContent).graphs[1].nodes.find(n => n.n === '{kept}').g"
    )


def test_keyboard(opened: Any, resnet: Inspection) -> None:
    diff = next(v.diff for v in resnet.views if v.record.changed)
    removed = sum(line.startswith("-") for line in diff.splitlines()[1:])
    assert removed >= 20 * (1 + 4 + 1)  # of every normalisation the node and four constants, and the convolution
    opened.run("document.querySelector('#after .node').focus()")
    for _ in range(2):
        opened.press("ArrowDown")
    assert opened.run("document.activeElement.classList.contains('chosen')")
    third = opened.run("document.querySelectorAll('#after .node')[2].querySelector('.id').textContent")
    assert opened.run("document.querySelector('#after .chosen .id').textContent") == third
    opened.press("n")
    assert opened.run("document.querySelector('#after .chosen').classList.contains('changed')")
    opened.run("document.getElementById('tab-graph').focus()")
    opened.press("ArrowRight")
    assert opened.run("document.getElementById('graphs').hidden") is True
    assert opened.run("document.querySelectorAll('#diff .del').length") == removed


def test_zoom_and_pan(opened: Any) -> None:
    place = "document.querySelector('#after svg > g').getAttribute('transform')"
    scale = "Number(/scale\\((.*)\\)/.exec(" + place + ")[1])"
    before = opened.run(scale)
    x, y = opened.run(
        "(() => {const r = document.getElementById('after').getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]})()"
    )
    opened.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    opened.run("new Promise(done => setTimeout(done, 50))")
    assert opened.run(scale) == pytest.approx(before * 1.377, rel=0.01)  # e^0.32
    was = opened.run(place)
    opened.mouse("mousePressed", x, y, button="left", buttons=1)
    opened.mouse("mouseMoved", x + 60, y + 20, button="left", buttons=1)
    opened.mouse("mouseReleased", x + 60, y + 20, button="left")
    assert opened.run(place) != was
    opened.press("0")
    box = "document.querySelector('#after svg > g').getBoundingClientRect().height"
    assert opened.run(box) <= opened.run("document.getElementById('after').clientHeight")
    assert opened.problems == []


def test_a_phone(page: Any, resnet: Inspection, tmp_path: Path) -> None:
    write_html(resnet, tmp_path / "report.html")
    page.open(tmp_path / "report.html", width=390, height=844, mobile=True)
    assert page.run("document.documentElement.scrollWidth") <= 390
    shown = "getComputedStyle(document.getElementById('before')).display"
    assert page.run(shown) == "none"
    page.run("document.querySelector('[data-side=before]').click()")
    assert page.run(shown) == "block"
    assert page.problems == []


def test_names_are_text_in_the_browser(page: Any, evil: Inspection, tmp_path: Path) -> None:
    write_html(evil, tmp_path / "report.html")
    page.open(tmp_path / "report.html")
    assert page.problems == []
    assert EVIL in page.run(
        "document.getElementById('after').querySelector('title').ownerDocument.body.textContent"
    )
    page.run("document.getElementById('query').value = 'alert'")
    page.ask("Runtime.evaluate", expression="document.getElementById('query').dispatchEvent(new Event('input'))")
    assert page.problems == [] and page.run("document.querySelectorAll('script').length") == 2
