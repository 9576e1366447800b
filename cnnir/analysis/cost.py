"""Parameters, arithmetic and memory traffic of a graph, node by node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from cnnir.ir import Graph, Node, TensorType, Value
from cnnir.ir.graph import ports_of
from cnnir.ops.shape import VIEWS


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What one node costs, or (`op` empty) the whole graph.

    `params` are the elements of constants at `parameter` ports: scale and bias of a batch normalisation count,
    its running statistics do not. Bytes are those of the logical elements; `bytes_weights` counts every constant
    that is read. A node that only reshapes moves nothing.
    """

    name: str
    op: str
    params: int
    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    bytes_weights: int

    @property
    def bytes(self) -> int:
        """All memory traffic: activations read and written, and weights."""
        return self.bytes_read + self.bytes_written + self.bytes_weights

    @property
    def intensity(self) -> float:
        """FLOPs a byte of memory traffic, the abscissa of the roofline model; 0 where nothing moves."""
        return self.flops / self.bytes if self.bytes else 0.0

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GraphCost:
    """The nodes in order, and their total, in which a shared weight is one set of parameters."""

    nodes: tuple[NodeCost, ...]
    total: NodeCost
    batch: int

    def as_dict(self) -> dict[str, object]:
        return {
            "batch": self.batch,
            "total": self.total.as_dict(),
            "nodes": [node.as_dict() for node in self.nodes],
        }


def graph_cost(graph: Graph, *, batch: int = 1) -> GraphCost:
    """The cost of one run. `batch` is the size that a symbolic batch takes; a static one stays what it is."""
    nodes = tuple(_node_cost(node, batch) for node in graph.nodes)
    total = NodeCost(
        graph.name,
        "",
        params=sum(value.type.size for value in graph.parameters()),
        macs=sum(n.macs for n in nodes),
        flops=sum(n.flops for n in nodes),
        bytes_read=sum(n.bytes_read for n in nodes),
        bytes_written=sum(n.bytes_written for n in nodes),
        bytes_weights=sum(n.bytes_weights for n in nodes),
    )
    return GraphCost(nodes, total, batch)


def _node_cost(node: Node, batch: int) -> NodeCost:
    def static(values: Sequence[Value | None]) -> list[TensorType | None]:
        return [None if v is None else v.type.with_batch(batch) for v in values]

    def nbytes(values: Iterable[Value]) -> int:
        # A set: reading one value at two ports is still one pass over it.
        return sum(v.type.with_batch(batch).nbytes for v in set(values))

    outputs = [v.type.with_batch(batch) for v in node.outputs]
    arithmetic = node.op.cost(node.attrs, static(node.inputs), outputs)
    present = [v for v in node.inputs if v is not None]
    learned = {
        v
        for v, port in zip(node.inputs, ports_of(node), strict=True)
        if v is not None and v.is_constant and port.parameter
    }
    moves = node.op not in VIEWS
    return NodeCost(
        node.name,
        node.op.name,
        params=sum(v.type.size for v in learned),
        macs=arithmetic.macs,
        flops=arithmetic.flops,
        bytes_read=nbytes(v for v in present if not v.is_constant) if moves else 0,
        bytes_written=sum(t.nbytes for t in outputs) if moves else 0,
        bytes_weights=nbytes(v for v in present if v.is_constant) if moves else 0,
    )
