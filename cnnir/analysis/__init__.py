"""What a graph costs and sees, without running it."""

from cnnir.analysis.complexity import Complexity, LayerComplexity, complexity, complexity_ratio
from cnnir.analysis.cost import GraphCost, NodeCost, graph_cost
from cnnir.analysis.depth import activations, depth, receptive_field
from cnnir.analysis.memory import MemoryUse, memory_use
from cnnir.analysis.receptive_field import AxisField, ReceptiveField, receptive_fields

__all__ = [
    "AxisField",
    "Complexity",
    "GraphCost",
    "LayerComplexity",
    "MemoryUse",
    "NodeCost",
    "ReceptiveField",
    "activations",
    "complexity",
    "complexity_ratio",
    "depth",
    "graph_cost",
    "memory_use",
    "receptive_field",
    "receptive_fields",
]
