"""`cnnir models`: every built-in architecture with its size."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnir.analysis.cost import graph_cost
from cnnir.cli.console import out, print_json, quantity, table
from cnnir.cli.options import Json
from cnnir.errors import UnknownNameError
from cnnir.frontends import zoo


def models(
    family: Annotated[str | None, typer.Option("--family", help="Only this family.")] = None, json: Json = False
) -> None:
    """List the built-in architectures: parameters, MACs, input, paper."""
    known = zoo.models()
    families = {m.family for m in known}
    if family is not None and family not in families:
        raise UnknownNameError("family", family, families)
    rows = [(m, graph_cost(zoo.build(m.name)).total) for m in known if family in (None, m.family)]
    if json:
        print_json(
            [
                {
                    "name": m.name,
                    "family": m.family,
                    "params": cost.params,
                    "macs": cost.macs,
                    "input": list(m.input_shape),
                    "paper": m.paper,
                }
                for m, cost in rows
            ]
        )
        return
    out.print(
        table(
            ["name", "family", ">params", ">MACs", "input", "paper"],
            [
                (m.name, m.family, quantity(c.params), quantity(c.macs), "x".join(map(str, m.input_shape)), m.paper)
                for m, c in rows
            ],
        )
    )
