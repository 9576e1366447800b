"""ONNX export, and the target that runs in ONNX Runtime."""

from cnnir.backends.onnx.backend import compile_graph, run, run_model
from cnnir.backends.onnx.export import save, to_bytes, to_model

__all__ = ["compile_graph", "run", "run_model", "save", "to_bytes", "to_model"]
