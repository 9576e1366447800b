"""Graphs as data for the HTML report: what is drawn, where, and which nodes a pass touched."""

from __future__ import annotations

import math
from typing import Any

from cnnir.analysis import graph_cost, receptive_fields
from cnnir.errors import CnnirError
from cnnir.inspect.layout import layout
from cnnir.inspect.report import State
from cnnir.ir import Graph, Node, Value
from cnnir.ir.graph import ports_of
from cnnir.ir.text import attributes_text


def drawing(state: State) -> dict[str, Any]:
    """One graph: `nodes`, inputs first and outputs last, and `edges` as [from, to, x0, y0, x1, y1, ...].

    The keys of a node are short because there are many: n(ame), o(perator), t(ype), a(ttributes), l(ine), g (the
    origins), p(arameters), m (MACs), f (FLOPs), e(rror), r(eceptive field), j(oined by
    a residual), w (constants), x, y. What is not known is left out.
    """
    graph = state.graph
    costs = {cost.name: cost for cost in graph_cost(graph).nodes}
    try:
        fields = {name: list(f.size) for name, f in receptive_fields(graph).items()}
    except CnnirError:
        fields = {}
    nodes: list[dict[str, Any]] = [{"n": v.name, "o": "Input", "t": str(v.type)} for v in graph.inputs]
    makers: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    edges: dict[tuple[int, int], None] = {}
    for node in graph.nodes:
        here = len(nodes)
        cost = costs[node.name]
        entry: dict[str, Any] = {
            "n": node.name,
            "o": node.op.name,
            "t": ", ".join(str(v.type) for v in node.outputs),
            "a": attributes_text(node.attrs),
            "l": "" if node.loc is None else str(node.loc),
            "g": [name for name in node.origins if node.origins != (node.name,)],
            "p": cost.params,
            "m": cost.macs,
            "f": cost.flops,
            "r": fields.get(node.outputs[0].name),
            "j": any(
                v is not None and port.name == "residual"
                for v, port in zip(node.inputs, ports_of(node), strict=True)
            ),
            "w": [f"{v.name}: {v.type}" for v in node.inputs if v is not None and v.is_constant],
        }
        error = state.errors.get(node.name)
        nodes.append({key: value for key, value in entry.items() if value not in ("", 0, None, [])})
        if error is not None:
            nodes[-1]["e"] = float(f"{error:.3g}") if math.isfinite(error) else "infinite"
        edges.update({(makers[v], here): None for v in node.inputs if v is not None and v in makers})
        makers.update(dict.fromkeys(node.outputs, here))
    for name, value in graph.outputs.items():
        if value in makers:
            edges[makers[value], len(nodes)] = None
        nodes.append({"n": name, "o": "Output", "t": str(value.type)})
    placed = layout(len(nodes), list(edges))
    for entry, (x, y) in zip(nodes, placed.at, strict=True):
        entry |= {"x": round(x, 2), "y": y}
    routes = [
        [a, b, *(round(c, 2) for point in route for c in point)]
        for (a, b), route in zip(edges, placed.routes, strict=True)
    ]
    return {"nodes": nodes, "edges": routes}


def touched(before: Graph, after: Graph) -> dict[str, list[str]]:
    """The names of the nodes that a pass `removed`, `added` and `changed`.

    A node is changed if its operator, attributes, types or constants are others, or if it reads something else. It
    does not count that what it reads was only merged into a node that stands for it now.
    """
    old, new = {n.name: n for n in before.nodes}, {n.name: n for n in after.nodes}
    return {
        "removed": [name for name in old if name not in new],
        "added": [name for name in new if name not in old],
        "changed": [name for name, node in new.items() if name in old and not _alike(old[name], node)],
    }


def _alike(old: Node, new: Node) -> bool:
    return (
        (old.op, repr(old.attrs), old.origins) == (new.op, repr(new.attrs), new.origins)
        and [v.type for v in old.outputs] == [v.type for v in new.outputs]
        and len(old.inputs) == len(new.inputs)
        and all(_same_input(a, b) for a, b in zip(old.inputs, new.inputs, strict=True))
    )


def _same_input(old: Value | None, new: Value | None) -> bool:
    if old is None or new is None:
        return old is new
    if old.is_constant or new.is_constant:
        return old.data is new.data
    if old.producer is None or new.producer is None:
        return old.name == new.name
    return old.producer.name == new.producer.name or old.producer.name in new.producer.origins
