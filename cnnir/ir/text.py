"""The text form of a graph: one statement a line, weights by name in a safetensors file beside it.

    cnnir 1
    weights "lenet.safetensors"
    graph "lenet"
    input %x: f32[N,1,28,28]
    const %conv1.weight: f32[6,1,5,5]
    const %tied: f32[6,1,5,5] = "conv1.weight"
    %conv1: f32[N,6,28,28] = Conv(%x, %conv1.weight) {kernel_size=[5, 5], pads=[2, 2, 2, 2]} at "lenet.py":12
    %pool1: f32[N,6,14,14]@nchw8c = MaxPool(%conv1) {kernel_size=[2, 2], stride=[2, 2]} from "conv1", "pool1"
    output "features" = %pool1

Values are written `%name`, or `%"any name"`; `N` is the unknown batch size; `_` stands for an input left out
(those at the end are not written); attributes that have their default are not written; `name "..."` gives a
node another name than its value's. `at` is the node's location, `from` its origins. `#` begins a comment.
`cnnir.ir.parser` reads what this module prints.
"""

from __future__ import annotations

import dataclasses
import json
import re
from enum import Enum
from pathlib import Path

from cnnir.errors import CnnirError
from cnnir.files import atomic_writer, write_error
from cnnir.ir.data import TensorData
from cnnir.ir.graph import Graph, Node, Value
from cnnir.ir.parser import FORMAT, parse_graph, parse_with
from cnnir.ir.weights import read_weights, write_weights

__all__ = ["attributes_text", "load_graph", "parse_graph", "print_graph", "save_graph", "tensors_of"]

_BARE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def print_graph(graph: Graph, *, weights: str | None = None) -> str:
    """The text form. `weights` is the file name to write into it, if there is one."""
    lines = [f"cnnir {FORMAT}"]
    if weights is not None:
        lines.append(f"weights {json.dumps(weights)}")
    lines.append(f"graph {json.dumps(graph.name)}")
    lines += [f"input {_typed(value)}" for value in graph.inputs]
    owners: dict[int, str] = {}
    for value in graph.constants():
        tensor = owners.setdefault(id(value.data), value.name)
        lines.append(f"const {_typed(value)}" + ("" if tensor == value.name else f" = {json.dumps(tensor)}"))
    lines += [_node(node) for node in graph.nodes]
    lines += [f"output {json.dumps(name)} = {_reference(value)}" for name, value in graph.outputs.items()]
    return "\n".join(lines) + "\n"


def tensors_of(graph: Graph) -> dict[str, TensorData]:
    """The weights that the text form refers to, by the names it uses; shared data once."""
    owners: dict[int, str] = {}
    tensors: dict[str, TensorData] = {}
    for value in graph.constants():
        assert value.data is not None
        if owners.setdefault(id(value.data), value.name) == value.name:
            tensors[value.name] = value.data
    return tensors


def save_graph(graph: Graph, path: Path) -> None:
    """Writes `NAME.cnnir` and, if the graph has constants, `NAME.safetensors` beside it.

    Raises:
        CnnirError: `path` does not end in `.cnnir`, or cannot be written.
    """
    if path.suffix != ".cnnir":
        raise CnnirError(f"Expected a file name that ends in '.cnnir', got '{path}'.")
    tensors = tensors_of(graph)
    file_name = path.with_suffix(".safetensors")
    if tensors:
        write_weights(file_name, tensors)
    text = print_graph(graph, weights=file_name.name if tensors else None)
    try:
        with atomic_writer(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise write_error(path, error) from error


def load_graph(path: Path) -> Graph:
    """Reads what `save_graph` wrote. Weights are memory-mapped, so nothing is read before it is used.

    The operators must be registered (`import cnnir.ops`).

    Raises:
        CnnirError: with line and column where the text is wrong; with names where the weights do not fit.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise CnnirError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        raise CnnirError(f"'{path}' is not a graph in text form: it is not UTF-8.") from error
    return parse_with(text, lambda name: read_weights(path.parent / name), source=str(path))


def _reference(value: Value | None) -> str:
    if value is None:
        return "_"
    return f"%{value.name}" if _BARE.fullmatch(value.name) else f"%{json.dumps(value.name)}"


def _typed(value: Value) -> str:
    return f"{_reference(value)}: {value.type}"


def _node(node: Node) -> str:
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    parts = [
        f"{', '.join(map(_typed, node.outputs))} = {node.op.name}({', '.join(map(_reference, inputs))})",
    ]
    if attrs := attributes_text(node.attrs):
        parts.append(f"{{{attrs}}}")
    if len(node.outputs) != 1 or node.output.name != node.name:
        parts.append(f"name {json.dumps(node.name)}")
    if node.loc is not None:
        line = f":{node.loc.line}" if node.loc.line else ""
        detail = f" {json.dumps(node.loc.detail)}" if node.loc.detail else ""
        parts.append(f"at {json.dumps(node.loc.file)}{line}{detail}")
    if node.origins != (node.name,):
        parts.append(f"from {', '.join(map(json.dumps, node.origins))}")
    return " ".join(parts)


def attributes_text(record: object) -> str:
    """`name=value` of every field that does not have its default."""
    assert dataclasses.is_dataclass(record)
    written = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        # By what they print as: -0.0 is no 0.0, and NaN is itself.
        if repr(value) != repr(default):
            written.append(f"{field.name}={_literal(value)}")
    return ", ".join(written)


def _literal(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Enum):
        return value.value if _WORD.fullmatch(str(value.value)) else json.dumps(value.value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({attributes_text(value)})"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"an attribute of type {type(value).__name__} has no text form")
