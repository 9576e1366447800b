"""The target `onnx`: the artifact holds an ONNX model, which ONNX Runtime executes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx

from cnnir.backends.onnx.export import IR_VERSION, OPSET, to_bytes
from cnnir.backends.product import Product
from cnnir.ir import Array, Graph
from cnnir.manifest import Json, OnnxExecution


def compile_graph(graph: Graph) -> Product:
    """The model as the only member of the artifact.

    Raises:
        CnnirError: see `cnnir.backends.onnx.export.to_model`.
    """
    execution = OnnxExecution()
    data = to_bytes(graph)
    counts = Counter(n.op_type for n in onnx.load_model_from_string(data).graph.node)
    plan: dict[str, Json] = {"opset": OPSET, "ir_version": IR_VERSION, "operators": dict(sorted(counts.items()))}
    return Product(execution, {execution.model: data}, plan)


def run(graph: Graph, feeds: Mapping[str, Array], *, threads: int = 1, optimise: bool = True) -> dict[str, Array]:
    """Exports the graph and runs it once in ONNX Runtime; outputs by their names in the graph.

    Args:
        feeds: one array a graph input, by name.
        optimise: whether ONNX Runtime may rewrite the model before it runs it.
    """
    return run_model(to_bytes(graph), feeds, threads=threads, optimise=optimise)


def run_model(
    model: bytes, feeds: Mapping[str, Array], *, threads: int = 1, optimise: bool = True
) -> dict[str, Array]:
    """Runs a serialised ONNX model once in ONNX Runtime; outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
