"""`cnnir models`: every built-in architecture with its size, as a table or a picture."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from cnnir.analysis import activations, complexity_ratio, depth, graph_cost, receptive_field
from cnnir.cli.console import Advance, err, out, print_json, print_table, progress, quantity
from cnnir.cli.options import Json
from cnnir.data.published import TOP1
from cnnir.errors import CnnirError, UnknownNameError
from cnnir.files import atomic_writer, write_error
from cnnir.frontends import zoo
from cnnir.frontends.dsl import ModelInfo
from cnnir.inspect.bubbles import Bubble, svg
from cnnir.ir import Graph


@dataclass(frozen=True)
class Row:
    """What the table says about one model, for one image of its default size.

    `training_params` are the parameters of heads that only training uses; no other figure counts them.
    `relative` is the complexity of the convolutions (He and Sun 2015, equation 1) over that of the family's
    baseline, if it has one. `latency` is in milliseconds, where it was measured.
    """

    info: ModelInfo
    params: int
    training_params: int
    macs: int
    activations: int
    depth: int
    receptive_field: tuple[int, int]
    relative: float | None = None
    latency: float | None = None

    def as_dict(self) -> dict[str, object]:
        published = TOP1.get(self.info.name)
        return {
            "name": self.info.name,
            "family": self.info.family,
            "params": self.params,
            "training_params": self.training_params,
            "macs": self.macs,
            "activations": self.activations,
            "depth": self.depth,
            "receptive_field": list(self.receptive_field),
            "relative_complexity": self.relative,
            "latency_ms": self.latency,
            "top1": published and published.top1,
            "input": list(self.info.input_shape),
            "inputs": {name: list(shape) for name, shape in self.info.inputs.items()},
            "paper": self.info.paper,
        }


def models(
    family: Annotated[str | None, typer.Option("--family", help="Only this family.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw GMACs against published accuracy into this SVG file.")
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Compile and time every model here (slow): latency instead of GMACs.")
    ] = False,
    json: Json = False,
) -> None:
    """List the built-in architectures: parameters, MACs, activations, depth, receptive field, input, paper."""
    rows = [row(m) for m in chosen(family)]
    if plot is not None:
        rows = [r for r in rows if r.info.name in TOP1]
        if not rows:
            raise CnnirError("None of these models has a published accuracy to draw.")
    if measured:
        with progress() as advance:
            rows = measure(rows, advance)
        if not rows:
            raise CnnirError("None of these models could be measured.")
    if plot is not None:
        draw(rows, plot, measured)
        err.print(f"wrote '{plot}' with {len(rows)} models", markup=False)
    if json:
        print_json([r.as_dict() for r in rows])
    elif plot is None:
        show(rows)


def chosen(family: str | None) -> list[ModelInfo]:
    """All built-in models, or those of one family."""
    known = zoo.models()
    families = {m.family for m in known}
    if family is not None and family not in families:
        raise UnknownNameError("family", family, families)
    return [m for m in known if family in (None, m.family)]


def row(info: ModelInfo) -> Row:
    """Counts one model; no weight is drawn."""
    trained = graph = zoo.build(info.name, training=True)
    if len(trained.outputs) > 1:  # only then can some of them be for training
        graph = zoo.build(info.name)
    cost = graph_cost(graph).total
    return Row(
        info,
        params=cost.params,
        training_params=graph_cost(trained).total.params - cost.params if trained is not graph else 0,
        macs=cost.macs,
        activations=activations(graph),
        depth=depth(graph),
        receptive_field=receptive_field(graph),
        relative=complexity_ratio(graph, _built(info.baseline)) if info.baseline else None,
    )


@cache
def _built(name: str) -> Graph:
    return zoo.build(name)


def measure(rows: Sequence[Row], advance: Advance) -> list[Row]:
    """Median latency of each model as compiled here; one that does not compile is named and left out."""
    # The compiler takes longer to load than the table takes to print.
    from cnnir.bench import Plan, bench
    from cnnir.cache import Cache
    from cnnir.compiler import compile_source
    from cnnir.frontends.source import load

    timed = []
    with tempfile.TemporaryDirectory(prefix="cnnir-models-") as folder:
        for i, r in enumerate(rows):
            advance("measure", i, len(rows))
            artifact = Path(folder) / "model.cnnmod"
            try:
                compile_source(load(r.info.name), artifact, cache=Cache())
                latency = bench(artifact, plan=Plan(rounds=5, seconds=10)).summary.median
            except CnnirError as error:
                err.print(f"left out '{r.info.name}': {error.message}", markup=False)
                continue
            timed.append(replace(r, latency=latency))
            artifact.unlink()
    return timed


def draw(rows: Sequence[Row], path: Path, measured: bool) -> None:
    """Writes the picture of models whose accuracy is published."""
    bubbles = []
    for r in rows:
        x = r.latency if measured else r.macs / 1e9
        if x is not None:
            bubbles.append(Bubble(r.info.name, r.info.family, x, TOP1[r.info.name].top1, r.params))
    x_title = "Latency of one image on this machine, milliseconds" if measured else "GMACs for one image"
    text = svg(
        bubbles, x_title=x_title, title=f"{x_title.partition(' ')[0]} and accuracy of cnnir's built-in models"
    )
    try:
        with atomic_writer(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise write_error(path, error) from None


def show(rows: Sequence[Row]) -> None:
    """The table for people; a column that no model has anything for is left out."""
    optional = {
        "?>training only": [quantity(r.training_params) if r.training_params else "" for r in rows],
        "?>complexity": ["" if r.relative is None else f"{r.relative:.2f}" for r in rows],
        ">ms": ["" if r.latency is None else f"{r.latency:.2f}" for r in rows],
    }
    columns = {
        "name": [r.info.name for r in rows],
        "family": [r.info.family for r in rows],
        ">params": [quantity(r.params) for r in rows],
        ">GMACs": [f"{r.macs / 1e9:.3g}" for r in rows],
        "?>activations": [quantity(r.activations) for r in rows],
        "?>depth": [str(r.depth) for r in rows],
        "?>field": [_size(r.receptive_field) for r in rows],
        **{name: cells for name, cells in optional.items() if any(cells)},
        "?input": ["x".join(map(str, r.info.input_shape)) for r in rows],
        "paper": [r.info.paper for r in rows],
    }
    print_table(list(columns), zip(*columns.values(), strict=True))
    baselines = {r.info.baseline for r in rows if r.info.baseline}
    for name in sorted(baselines):
        out.print(f"complexity: that of the convolutions, relative to '{name}'", markup=False)


def _size(field: tuple[int, int]) -> str:
    height, width = field
    return str(height) if height == width else f"{height}x{width}"
