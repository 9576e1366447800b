"""`cnnir targets`: what can be compiled for, and what this machine can run."""

from __future__ import annotations

from cnnir.cli.console import print_json, print_table, say
from cnnir.cli.options import Json


def targets(json: Json = False) -> None:
    """List the targets, their precisions, and whether this machine can run them."""
    # TVM, which the backends import, takes longer to load than `cnnir --help` takes to print.
    from cnnir.backends.targets import TARGETS, runs_here

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
    print_table(
        ["target", "precisions", "runs here", "what"],
        [(t.name, ", ".join(t.precisions), "yes" if runs_here(t) else "no", t.description) for t in TARGETS],
    )
    say("\n'x86' alone means the widest instruction set of this machine.")
