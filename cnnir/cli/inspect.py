"""`cnnir inspect`: what each pass did to a graph, what it declined, and what that changed in cost."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnir.cli.console import out, print_json, quantity
from cnnir.cli.options import Json, Passes, Seed, Source, Weights
from cnnir.compiler import DEFAULT_PIPELINE
from cnnir.frontends.source import load
from cnnir.inspect.pipeline import PassView, inspect_pipeline


def inspect(
    source: Source,
    passes: Passes = None,
    weights: Weights = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show how the text form changed.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run a pipeline and show, pass by pass, what was rewritten, what was declined and why, and the cost."""
    loaded = load(source, weights=weights, seed=seed)
    views = inspect_pipeline(loaded.graph, DEFAULT_PIPELINE if passes is None else passes)
    if json:
        print_json({"name": loaded.name, "passes": [view.as_dict() for view in views]})
        return
    for view in views:
        _print(view, diff)


def _print(view: PassView, diff: bool) -> None:
    record = view.record
    if not record.changed and not record.declined:
        out.print(f"{record.name}: nothing to do", style="dim")
        return
    options = f"{{{record.options}}}" if record.options else ""
    out.print(f"[bold]{record.name}[/]{options} ({record.contract}), {1000 * record.seconds:.1f} ms")
    if record.changed:
        before, after = view.before, view.after
        out.print(
            f"  nodes {before.nodes} -> {after.nodes}, parameters {quantity(before.params)} -> "
            f"{quantity(after.params)}, MACs {quantity(before.macs)} -> {quantity(after.macs)}"
        )
    for remark in record.rewrote[:8]:
        out.print(f"  + {remark}", markup=False, soft_wrap=True)
    if len(record.rewrote) > 8:
        out.print(f"  + and {len(record.rewrote) - 8} more")
    for remark in record.declined:
        out.print(f"  - declined {remark}", markup=False, soft_wrap=True)
    if diff and view.diff:
        out.print(view.diff, markup=False, soft_wrap=True)
