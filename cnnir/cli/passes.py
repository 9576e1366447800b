"""`cnnir passes`: every pass with its contract, options and source; the named pipelines."""

from __future__ import annotations

from cnnir.cli.console import out, print_json, table
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
    rows = [
        (
            p.name,
            str(p.contract),
            ", ".join(f"{o.name}={o.default}" for o in options_of(p)),
            summary(p),
            p.source,
        )
        for p in known
    ]
    out.print(table(["pass", "contract", "options", "what it does", "source"], rows))
    out.print()
    out.print(table(["pipeline", "passes"], PIPELINES.items()))
