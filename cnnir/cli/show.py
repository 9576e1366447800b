"""`cnnir show`: a graph with the shape and the cost of each node."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnir.analysis.cost import GraphCost, graph_cost
from cnnir.analysis.memory import memory_use
from cnnir.analysis.receptive_field import receptive_fields
from cnnir.cli.console import print_json, print_table, quantity, say
from cnnir.cli.options import Batch, Json, Passes, Seed, Source, Weights
from cnnir.frontends.source import load
from cnnir.ir import Graph
from cnnir.ir.text import print_graph
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline


def show(
    source: Source,
    passes: Passes = "",
    weights: Weights = None,
    batch: Batch = 1,
    text: Annotated[bool, typer.Option("--text", help="Print the text form of the graph.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Show a network: nodes, shapes, parameters, MACs, memory, receptive field."""
    pipeline = parse_pipeline(passes)
    loaded = load(source, weights=weights, seed=seed)
    graph = loaded.graph.clone()
    PassManager(pipeline).run(graph)
    if text and not json:
        say(print_graph(graph))
        return
    cost = graph_cost(graph, batch=batch)
    memory = memory_use(graph, batch=batch)
    total = cost.total
    if json:
        print_json(
            {
                "name": graph.name,
                "params": total.params,
                "macs": total.macs,
                "flops": total.flops,
                "bytes": total.bytes,
                "batch": batch,
                "passes": passes,
                "inputs": {v.name: str(v.type) for v in graph.inputs},
                "outputs": {name: str(v.type) for name, v in graph.outputs.items()},
                "weights_from": loaded.weights_from,
                "activation_memory": memory.as_dict(),
                "nodes": [node.as_dict() for node in cost.nodes],
                **({"text": print_graph(graph)} if text else {}),
            }
        )
        return
    _print_nodes(graph, cost)
    say(
        f"\n{graph.name}: {len(graph.nodes)} nodes, {total.params:,} parameters, {quantity(total.macs)}MACs "
        f"and {quantity(memory.peak, 'B')} of activations at once at batch {batch}; "
        f"weights: {loaded.weights_from}"
    )


def _print_nodes(graph: Graph, cost: GraphCost) -> None:
    fields = receptive_fields(graph)
    rows = []
    for node, figures in zip(graph.nodes, cost.nodes, strict=True):
        first = node.outputs[0].name
        rows.append(
            (
                node.name,
                node.op.name,
                ", ".join(str(v.type) for v in node.outputs),
                quantity(figures.params) if figures.params else "",
                quantity(figures.macs) if figures.macs else "",
                "x".join(map(str, fields[first].size)) if first in fields else "",
                node.loc or "",
            )
        )
    print_table(["node", "operator", "output", ">params", ">MACs", "?sees", "?from"], rows)
