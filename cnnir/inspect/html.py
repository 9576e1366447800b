"""An inspection as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cnnir.errors import CnnirError
from cnnir.files import atomic_writer, write_error
from cnnir.inspect.drawing import drawing, touched
from cnnir.inspect.plot import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Plot, plot
from cnnir.inspect.report import Inspection, PassView, Size, delta

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself sees to it that nothing is fetched."""


def render(inspection: Inspection) -> str:
    """The report as an HTML document."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"quantity": quantity, "signed": signed, "error": error_text, "percent": percent}
    steps = [_step(inspection, view) for view in inspection.views]
    for i, step in enumerate(steps, 1):
        step["number"] = i
    sizes = [state.size for state in inspection.states]
    return environment.from_string(_file("report.html.j2")).render(
        policy=POLICY,
        style=Markup(_file("report.css")),
        script=Markup(_file("report.js")),
        data=embedded(_data(inspection, steps)),
        report=inspection,
        before=sizes[0],
        after=sizes[-1],
        figures=_figures(inspection),
        total=inspection.states[-1].total,
        groups=[(changed, list(group)) for changed, group in groupby(steps, key=lambda s: bool(s["shown"]))],
        seconds=sum(v.record.seconds for v in inspection.views),
        plots=_plots(inspection),
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP},
    )


def write_html(inspection: Inspection, path: Path) -> None:
    """Writes the report.

    Raises:
        CnnirError: the file cannot be written.
    """
    text = render(inspection)
    try:
        with atomic_writer(path, sync=False) as file:
            file.write(text.encode())
    except OSError as error:
        raise write_error(path, error) from error


def check_destination(path: Path) -> None:
    """Refuses, before any work is done, a place where no report can be written."""
    if path.is_dir():
        raise CnnirError(f"'{path}' is a folder, expected the name of a file to write.")
    if not path.absolute().parent.is_dir():
        raise CnnirError(f"There is no folder '{path.parent}' to write '{path.name}' to.")


def embedded(value: object) -> Markup:
    """JSON for a `<script>`: no text in it can end the script or begin a tag."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _file(name: str) -> str:
    return resources.files("cnnir.inspect").joinpath(name).read_text("utf-8")


def _step(inspection: Inspection, view: PassView) -> dict[str, Any]:
    before, after = inspection.states[view.before].size, inspection.states[view.after].size
    measured = inspection.latencies if view.record.changed else None
    ratio = None if measured is None else measured.ratio(view.before, view.after)
    return {
        "record": view.record,
        "view": view,
        # A pass that only declined has something to say, too.
        "shown": view.record.changed or bool(view.record.declined),
        "before": before,
        "after": after,
        "delta": delta(before, after),
        "change": view.change,
        "total": inspection.states[view.after].total,
        "ratio": ratio,
        "after_ms": None if measured is None else measured.median(view.after),
    }


def _data(inspection: Inspection, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What the script draws: each distinct graph once, and the passes that changed or declined something."""
    passes = []
    for step in steps:
        view: PassView = step["view"]
        if not step["shown"]:
            continue
        before, after = inspection.states[view.before].graph, inspection.states[view.after].graph
        passes.append(
            {
                "id": step["number"],
                "name": view.record.name,
                "before": view.before,
                "after": view.after,
                "touched": touched(before, after),
                "rewrote": [[r.node, r.text] for r in view.record.rewrote],
                "declined": [[r.node, r.text] for r in view.record.declined],
                "diff": view.diff,
            }
        )
    return {"graphs": [drawing(state) for state in inspection.states], "passes": passes}


def _figures(inspection: Inspection) -> list[dict[str, Any]]:
    """The totals in the head of the report: name, before, after, and the change in percent."""
    before, after = (asdict(s.size) for s in (inspection.states[0], inspection.states[-1]))
    rows: list[dict[str, Any]] = []
    for key, name, unit in (
        ("nodes", "Nodes", ""),
        ("params", "Parameters", ""),
        ("macs", "MACs", ""),
        ("flops", "FLOPs", ""),
        ("peak_activation_bytes", "Peak activations", "B"),
    ):
        old, new = before[key], after[key]
        change = percent(new / old - 1) if old and new != old else ""
        rows.append({"name": name, "old": quantity(old, unit), "new": quantity(new, unit), "change": change})
    fields = [_field(inspection.states[0].size), _field(inspection.states[-1].size)]
    if any(fields):
        rows.append({"name": "Receptive field", "old": fields[0], "new": fields[1], "change": ""})
    measured = inspection.latencies
    if measured is not None:
        last = len(inspection.states) - 1
        times = [measured.median(s) for s in (0, last)]
        old, new = ("–" if t is None else f"{t:.3g} ms" for t in times)
        ratio = measured.ratio(0, last)
        rows.append(
            {"name": "Latency", "old": old, "new": new, "change": percent(ratio.median - 1) if ratio else ""}
        )
    return rows


def _field(size: Size) -> str:
    return "" if size.receptive_field is None else "×".join(map(str, size.receptive_field))


def _plots(inspection: Inspection) -> list[Plot]:
    names = ["0"] + [str(i) for i, view in enumerate(inspection.views, 1) if view.record.changed]
    errors = [None if s.total is None else s.total.deviation.relative_rms for s in inspection.states]
    if len(names) < 2:
        return []
    result = []
    costs: list[tuple[str, str, list[float | None]]] = [
        ("MACs, in G" if inspection.states[0].size.macs >= 1e8 else "MACs, in M", "MACs", []),
    ]
    scale = 1e9 if costs[0][0].endswith("G") else 1e6
    costs[0][2].extend(s.size.macs / scale for s in inspection.states)
    if inspection.latencies is not None:
        costs.append(("Latency, in ms", "ms", [inspection.latencies.median(i) for i in range(len(errors))]))
    for axis, unit, values in costs:
        points = [
            (n, v, e) for n, v, e in zip(names, values, errors, strict=True) if v is not None and e is not None
        ]
        if len(points) > 1 and any(v > 0 for _, v, _ in points):
            result.append(plot(axis, unit, points))
    return result


def quantity(value: float, unit: str = "") -> str:
    """`4.35 G`, `25.6 M`, `512`: three significant digits with a prefix."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{_digits(value / factor)} {prefix}{unit}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def signed(value: float, unit: str = "") -> str:
    """A difference with its sign: `−53`, `+1.2 M`, `0`."""
    return "0" if value == 0 else ("+" if value > 0 else "−") + quantity(abs(value), unit)


def percent(share: float) -> str:
    """`−66.3%`; `+0.02%` where the change is small."""
    value = 100 * abs(share)
    digits = 1 if value >= 1 else 2
    return f"{'+' if share >= 0 else '−'}{value:.{digits}f}%"


def error_text(value: float) -> str:
    """`0`, `3.1e-07` or `infinite`."""
    return "0" if value == 0 else f"{value:.1e}" if math.isfinite(value) else "infinite"
