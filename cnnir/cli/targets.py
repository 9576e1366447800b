"""`cnnir targets`: what can be compiled for, and what this machine can run."""

from __future__ import annotations

from cnnir.backends.targets import TARGETS, runs_here
from cnnir.cli.console import out, print_json, table
from cnnir.cli.options import Json


def targets(json: Json = False) -> None:
    """List the targets, their precisions, and whether this machine can run them."""
    if json:
        print_json(
            [
                {
                    "name": t.name,
                    "description": t.description,
                    "precisions": list(t.precisions),
                    "cpu_features": list(t.cpu_features),
                    "runs_here": runs_here(t),
                }
                for t in TARGETS
            ]
        )
        return
    out.print(
        table(
            ["target", "precisions", "runs here", "what"],
            [(t.name, ", ".join(t.precisions), "yes" if runs_here(t) else "no", t.description) for t in TARGETS],
        )
    )
    out.print("'x86' alone means the widest instruction set of this machine.")
