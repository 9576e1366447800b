"""`cnnir passes`: every pass with its contract, options and source; the named pipelines."""

from __future__ import annotations

from cnnir.cli.console import print_json, print_table, say
from cnnir.cli.options import Json
from cnnir.passes.pipeline import PIPELINES, options_of
from cnnir.passes.registry import passes as all_passes
from cnnir.passes.registry import summary


def passes(json: Json = False) -> None:
    """List the passes: contract, options with their defaults, source; and the named pipelines."""
    known = all_passes()
    if json:
        print_json(
            {
                "passes": [
                    {
                        "name": p.name,
                        "contract": str(p.contract),
                        "options": [{"name": o.name, "type": o.type, "default": o.default} for o in options_of(p)],
                        "source": p.source,
                        "summary": summary(p),
                    }
                    for p in known
                ],
                "pipelines": dict(PIPELINES),
            }
        )
        return
    print_table(["pass", "contract", "what it does"], [(p.name, p.contract, summary(p)) for p in known])
    say("\noptions and their defaults")
    for p in known:
        if options := options_of(p):
            say(f"  {p.name}{{{' '.join(f'{o.name}={o.default}' for o in options)}}}")
    say("\nsources")
    for p in known:
        if p.source:
            say(f"  {p.name}: {p.source}")
    say("\npipelines")
    for name, text in PIPELINES.items():
        say(f"  {name}: {text or '(no pass)'}")
