"""Graph -> ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import helper

import cnnir
from cnnir.backends.onnx.emitter import Emitter, tensor_info
from cnnir.backends.onnx.writers import writer
from cnnir.errors import CnnirError
from cnnir.files import atomic_writer, write_error
from cnnir.ir import Graph

OPSET = 20
"""Has `Gelu`, dilated average pooling and PyTorch's rule for ceil mode; ONNX Runtime 1.17 and later run it."""

IR_VERSION = 9
"""The IR version that came with opset 20."""

LARGEST = (1 << 31) - 1
"""Bytes in one protobuf message at most."""


def to_model(graph: Graph) -> Any:
    """The graph as an `onnx.ModelProto` (opset 20).

    Fused epilogues are spelt out, layouts dropped. Inputs and outputs keep their names, the symbolic batch size is
    `N`; source nodes of a rewritten node are kept in its metadata (`origins`).

    Raises:
        CnnirError: an operator has no ONNX form, a name is both an input and another output, or the constants
            exceed the 2 GB that an ONNX file can hold.
    """
    total = sum(v.type.nbytes for v in graph.constants())
    if total > LARGEST:
        raise CnnirError(
            f"The weights of '{graph.name}' take {total / 2**30:.1f} GB; an ONNX file holds at most 2 GB.",
            hints=["Reduce their precision, or compile for another target."],
        )
    emitter = Emitter(graph)
    for node in graph.nodes:
        writer(node)(emitter, node)
    for name, value in graph.outputs.items():
        if emitter.tensor(value) != name:
            emitter.node("Identity", [emitter.tensor(value)], name, name)
    proto = helper.make_graph(
        emitter.nodes,
        graph.name or "graph",
        [tensor_info(v.name, v.type) for v in graph.inputs],
        [tensor_info(name, v.type) for name, v in graph.outputs.items()],
        emitter.initializers,
    )
    return helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cnnir",
        producer_version=cnnir.__version__,
    )


def to_bytes(graph: Graph) -> bytes:
    """The serialised model, checked by ONNX (types and shapes too); the same graph gives the same bytes."""
    model = to_model(graph)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def save(graph: Graph, path: str | Path) -> None:
    """Writes the model to `path`, whole or not at all.

    Raises:
        CnnirError: see `to_model`; or the file cannot be written.
    """
    path = Path(path)
    data = to_bytes(graph)
    try:
        with atomic_writer(path) as file:
            file.write(data)
    except OSError as error:
        raise write_error(path, error) from None
