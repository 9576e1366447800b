"""`cnnir inspect`: what each pass did to a graph, what it declined, and what that changed in cost."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnir.cli.console import out, print_json, quantity, say
from cnnir.cli.options import Json, Passes, Seed, Source, Weights
from cnnir.frontends.source import load
from cnnir.inspect.pipeline import PassView, inspect_pipeline
from cnnir.passes.base import Remark
from cnnir.passes.pipeline import DEFAULT_PIPELINE, parse_pipeline

FEW = 8
"""Remarks of one kind that are printed, unless all are asked for."""


def inspect(
    source: Source,
    passes: Passes = DEFAULT_PIPELINE,
    weights: Weights = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show how the text form changed.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Print every remark, not only the first few.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run a pipeline and show, pass by pass, what was rewritten, what was declined and why, and the cost."""
    pipeline = parse_pipeline(passes)
    loaded = load(source, weights=weights, seed=seed)
    views = inspect_pipeline(loaded.graph, pipeline)
    if json:
        print_json({"name": loaded.name, "passes": [view.as_dict() for view in views]})
        return
    if not views:
        say("no pass was run")
    for view in views:
        _print(view, diff, None if every else FEW)


def _print(view: PassView, diff: bool, few: int | None) -> None:
    record = view.record
    if not record.changed and not record.declined:
        say(f"{record.name}: nothing to do", style="dim")
        return
    out.print(record.name, style="bold", markup=False, end="")
    say(f"{f'{{{record.options}}}' if record.options else ''} ({record.contract}), {1000 * record.seconds:.1f} ms")
    if record.changed:
        before, after = view.before, view.after
        say(
            f"  nodes {before.nodes} -> {after.nodes}, parameters {quantity(before.params)} -> "
            f"{quantity(after.params)}, MACs {quantity(before.macs)} -> {quantity(after.macs)}"
        )
    _remarks("+", record.rewrote, few)
    _remarks("- declined", record.declined, few)
    if diff and view.diff:
        for line in view.diff.splitlines():
            say(line, style={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))


def _remarks(mark: str, remarks: tuple[Remark, ...], few: int | None) -> None:
    for remark in remarks[:few]:
        say(f"  {mark} {remark}")
    if few is not None and len(remarks) > few:
        say(f"  {mark} {len(remarks) - few} more (see --all)")
