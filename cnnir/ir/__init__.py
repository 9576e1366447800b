"""The graph IR: types, data, operators' contract, values, nodes, graphs."""

from cnnir.ir.data import ArrayData, LazyData, TensorData, digest
from cnnir.ir.graph import Graph, Node, Value
from cnnir.ir.loc import Loc
from cnnir.ir.op import Attrs, Cost, Operator, Port, Sample, Window
from cnnir.ir.types import BATCH, PLAIN, Array, DType, Layout, TensorType

__all__ = [
    "BATCH",
    "PLAIN",
    "Array",
    "ArrayData",
    "Attrs",
    "Cost",
    "DType",
    "Graph",
    "Layout",
    "LazyData",
    "Loc",
    "Node",
    "Operator",
    "Port",
    "Sample",
    "TensorData",
    "TensorType",
    "Value",
    "Window",
    "digest",
]
