"""`cnnir inspect`: what each pass did to a graph, what it declined, and what that changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnir.cli.console import note, out, print_json, progress, quantity, say
from cnnir.cli.options import Json, Passes, PreprocessName, Seed, Source, Threads, Weights
from cnnir.passes.base import Remark
from cnnir.passes.pipeline import DEFAULT_PIPELINE, parse_pipeline

if TYPE_CHECKING:
    from cnnir.inspect.report import Inspection, PassView

FEW = 8
"""Remarks of one kind that are printed, unless all are asked for."""


def inspect(
    source: Source,
    passes: Passes = DEFAULT_PIPELINE,
    weights: Weights = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Images to compare on: .npz, a folder or a list; else seeded inputs."),
    ] = None,
    preprocess: PreprocessName = None,
    images: Annotated[
        int, typer.Option("--images", min=0, help="Images put through the float64 reference; 0 compares nothing.")
    ] = 2,
    measure: Annotated[
        bool, typer.Option("--measure", help="Compile after each change, and measure all of them interleaved.")
    ] = False,
    threads: Threads = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained HTML report.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show how the text form changed.")] = False,
    print_after_change: Annotated[
        bool, typer.Option("--print-after-change", help="Print the graph after each pass that changed it.")
    ] = False,
    dump_dir: Annotated[
        Path | None,
        typer.Option("--dump-dir", help="Write each changed graph's text, and a failure's reproducer, here."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print every remark, not only the first few.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Run a pipeline and show, pass by pass, what was rewritten, what was declined and why, and what it changed."""
    # Late: the reference and the plots take longer to load than `cnnir --help` takes to print.
    from cnnir.frontends.source import load
    from cnnir.inspect.html import check_destination, write_html
    from cnnir.inspect.run import run_inspection

    pipeline = parse_pipeline(passes)
    if html is not None:
        check_destination(html)
    loaded = load(source, weights=weights, seed=seed)
    with progress() as advance:
        inspection = run_inspection(
            loaded,
            pipeline,
            data=data,
            preprocess=preprocess,
            images=images,
            measure=measure,
            threads=threads or 0,
            dump_dir=dump_dir,
            echo=(sys.stderr if json else sys.stdout) if print_after_change else None,
            progress=advance,
        )
    if html is not None:
        write_html(inspection, html)
    if json:
        print_json(inspection.as_dict())
        return
    if not inspection.views:
        say("no pass was run")
    for view in inspection.views:
        _print(inspection, view, diff, None if every else FEW)
    if inspection.views:
        _total(inspection)
    for remark in inspection.notes:
        note(remark)
    if html is not None:
        note(f"{html}: {quantity(html.stat().st_size, 'B')}")


def _print(inspection: Inspection, view: PassView, diff: bool, few: int | None) -> None:
    record = view.record
    if not record.changed and not record.declined:
        say(f"{record.name}: nothing to do", style="dim")
        return
    out.print(record.name, style="bold", markup=False, end="")
    say(f"{f'{{{record.options}}}' if record.options else ''} ({record.contract}), {1000 * record.seconds:.1f} ms")
    if record.changed:
        before, after = inspection.states[view.before].size, inspection.states[view.after].size
        say(
            f"  nodes {before.nodes} -> {after.nodes}, parameters {quantity(before.params)} -> "
            f"{quantity(after.params)}, MACs {quantity(before.macs)} -> {quantity(after.macs)}"
        )
        if before.peak_activation_bytes != after.peak_activation_bytes:
            peaks = (quantity(s.peak_activation_bytes, "B") for s in (before, after))
            say(f"  peak of activations {' -> '.join(peaks)}")
        if before.receptive_field != after.receptive_field and before.receptive_field and after.receptive_field:
            fields = ("x".join(map(str, f)) for f in (before.receptive_field, after.receptive_field))
            say(f"  receptive field {' -> '.join(fields)}")
    if view.change is not None:
        same = "" if view.change.top1 is None else f", top-1 the same in {100 * view.change.top1:.4g}%"
        deviation = view.change.deviation
        say(f"  relative RMS {deviation.relative_rms:.1e}, cosine {deviation.worst.cosine:.7f}{same}")
    measured = inspection.latencies
    ratio = None if measured is None or not record.changed else measured.ratio(view.before, view.after)
    if measured is not None and ratio is not None:
        say(
            f"  latency {measured.median(view.before):.3g} -> {measured.median(view.after):.3g} ms "
            f"(x{ratio.median:.3f}, {ratio.interval[0]:.3f} to {ratio.interval[1]:.3f}: {ratio.verdict})"
        )
    _remarks("+", record.rewrote, few)
    _remarks("- declined", record.declined, few)
    if diff and view.diff:
        for line in view.diff.splitlines():
            say(line, style={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))


def _total(inspection: Inspection) -> None:
    before, after, total = inspection.states[0].size, inspection.states[-1].size, inspection.states[-1].total
    seconds = sum(view.record.seconds for view in inspection.views)
    text = f"in all: nodes {before.nodes} -> {after.nodes}, MACs {quantity(before.macs)} -> {quantity(after.macs)}"
    if total is not None:
        text += f", relative RMS {total.deviation.relative_rms:.1e} on {inspection.images} {inspection.data}"
    say(f"{text}; passes took {1000 * seconds:.1f} ms")
    for i, reason in ({} if inspection.latencies is None else inspection.latencies.reasons).items():
        note(f"not measured at point {i}: {reason}")


def _remarks(mark: str, remarks: tuple[Remark, ...], few: int | None) -> None:
    for remark in remarks[:few]:
        say(f"  {mark} {remark}")
    if few is not None and len(remarks) > few:
        say(f"  {mark} {len(remarks) - few} more (see --all)")
