"""Liveness of activations: how much memory a run needs at least, in the order of the graph's nodes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cnnir.ir import Graph, Value
from cnnir.ops.shape import VIEWS


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes of logical elements (no halo, no channel padding, no workspace of a kernel).

    `peak` is the most that is alive at once, inputs and outputs of the graph included, while `peak_node` runs;
    `activations` is the sum over all values, as if nothing were reused; `live` has what is alive at each node.
    """

    peak: int
    peak_node: str
    activations: int
    weights: int
    live: tuple[tuple[str, int], ...]

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"live": [{"node": name, "bytes": size} for name, size in self.live]}


def memory_use(graph: Graph, *, batch: int = 1) -> MemoryUse:
    """Liveness at a batch size (see `graph_cost`). Nodes that only reshape share the memory of their input."""
    owner: dict[Value, Value] = {v: v for v in graph.inputs}
    born = dict.fromkeys(graph.inputs, 0)
    dies = dict.fromkeys(graph.inputs, -1)
    for i, node in enumerate(graph.nodes):
        for value in node.inputs:
            if value is not None and value in owner:
                dies[owner[value]] = i
        source = node.inputs[0] if node.inputs else None
        for value in node.outputs:
            if node.op in VIEWS and source in owner:
                owner[value] = owner[source]
            else:
                owner[value], born[value] = value, i
            dies[owner[value]] = i
    for value in graph.outputs.values():
        if value in owner:
            dies[owner[value]] = len(graph.nodes) - 1

    # Difference array: what comes alive at a node, less what was read for the last time at the one before.
    size = {v: v.type.with_batch(batch).nbytes for v in born}
    change = [0] * (len(graph.nodes) + 1)
    for value, at in born.items():
        if dies[value] >= at:
            change[at] += size[value]
            change[dies[value] + 1] -= size[value]
    live: list[tuple[str, int]] = []
    now = 0
    for node, delta in zip(graph.nodes, change, strict=False):
        now += delta
        live.append((node.name, now))
    peak_node, peak = max(live, key=lambda entry: entry[1], default=("", 0))
    weights = {id(v.data): v.type.nbytes for v in graph.constants()}
    return MemoryUse(peak, peak_node, sum(size.values()), sum(weights.values()), tuple(live))
