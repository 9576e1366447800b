"""What rewrites of the architecture share: new types down the graph, chains of pointwise nodes, names, floats."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

import numpy as np

from cnnir.errors import CnnirError, ShapeError, UnknownNameError
from cnnir.ir import Array, ArrayData, Attrs, DType, Graph, Node, Operator, TensorData, TensorType, Value
from cnnir.ops.activation import activation_of
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.normalization import BATCH_NORM, BatchNormAttrs
from cnnir.passes.editor import Editor

# -- types


def retyped(graph: Graph, attrs: Mapping[Node, Attrs]) -> dict[Value, TensorType] | str:
    """The types that change when nodes get new attributes, or why the graph would not hold together any more.

    A graph output that changes is a reason too: a rewrite may not change what users see.
    """
    types: dict[Value, TensorType] = {}
    for node in graph.nodes:
        if node not in attrs and not any(v in types for v in node.inputs if v is not None):
            continue
        inputs = [None if v is None else types.get(v, v.type) for v in node.inputs]
        try:
            new = node.op.infer(attrs.get(node, node.attrs), inputs)
        except ShapeError as error:
            return f"'{node.name}' would not fit any more: {error.message}"
        for value, fresh in zip(node.outputs, new, strict=True):
            if fresh == value.type:
                continue
            if graph.is_output(value):
                return f"the graph output '{value.name}' would turn from {value.type} into {fresh}"
            types[value] = fresh
    return types


def set_attrs(graph: Graph, attrs: Mapping[Node, Attrs]) -> None:
    """Gives nodes new attributes and rebuilds every node whose types follow; names, places and origins stay.

    The caller has asked `retyped` whether this can be done.
    """
    renewed: dict[Value, Value] = {}
    order: list[Node] = []
    for old in graph.nodes:
        if old not in attrs and not any(v in renewed for v in old.inputs if v is not None):
            order.append(old)
            continue
        inputs = [None if v is None else renewed.get(v, v) for v in old.inputs]
        op: Operator[Attrs] = old.op
        node = Node(op, attrs.get(old, old.attrs), inputs, name=old.name, loc=old.loc, origins=old.origins)
        order.append(node)
        for before, after in zip(old.outputs, node.outputs, strict=True):
            after.name = before.name
            renewed[before] = after
        for i in range(len(old.inputs)):
            old.set_input(i, None)
    graph.nodes = order
    for name, value in graph.outputs.items():
        graph.outputs[name] = renewed.get(value, value)


# -- structure


def is_pointwise(node: Node) -> bool:
    """Whether every pixel of the output is made from that pixel alone: activations and batch normalisation."""
    return node.op is BATCH_NORM or (activation_of(node.op, node.attrs) is not None and len(node.inputs) == 1)


def only_reader(value: Value, graph: Graph) -> Node | None:
    """The one node that reads `value`, which is no graph output; `None` if there is no such node."""
    if len(value.uses) != 1 or graph.is_output(value):
        return None
    return value.uses[0][0]


def behind_pointwise(value: Value, graph: Graph) -> tuple[Node | None, list[Node]]:
    """The first node before `value` that is not pointwise, and the pointwise nodes passed (nearest first).

    Every value on the way has one reader; `None` where that ends.
    """
    passed: list[Node] = []
    while True:
        node = value.producer
        if node is None or only_reader(value, graph) is None:
            return None, passed
        if not is_pointwise(node):
            return node, passed
        passed.append(node)
        first = node.inputs[0]
        assert first is not None
        value = first


def is_ancestor(value: Value, of: Value, position: Mapping[Node, int]) -> bool:
    """Whether `of` is computed from `value`."""
    floor = -1 if value.producer is None else position[value.producer]
    seen: set[Value] = set()
    pending = [of]
    while pending:
        current = pending.pop()
        if current is value:
            return True
        node = current.producer
        if current in seen or node is None or position[node] <= floor:
            continue
        seen.add(current)
        pending += [v for v in node.inputs if v is not None]
    return False


def conv_of(node: Node) -> ConvAttrs:
    """The attributes of a node that is known to be a convolution."""
    attrs = CONV.of(node)
    assert attrs is not None
    return attrs


def selected(graph: Graph, layers: Collection[str], nodes: Iterable[Node]) -> list[Node]:
    """Those of `nodes` that `layers` names (`*` and `?` stand for anything); all if it is empty.

    Raises `CnnirError` for a name that no node of the graph has.
    """
    candidates = list(nodes)
    if not layers:
        return candidates
    everything = [n.name for n in graph.nodes]
    for name in layers:
        if not any(fnmatchcase(n, name) for n in everything):
            if any(mark in name for mark in "*?["):
                raise CnnirError(f"No layer of graph '{graph.name}' is called like '{name}'.")
            raise UnknownNameError("layer", name, everything)
    return [n for n in candidates if any(fnmatchcase(n.name, name) for name in layers)]


def check_layers(layers: Collection[str]) -> None:
    """Refuses an empty name among the option `layers`."""
    if any(not name.strip() for name in layers):
        raise ValueError("expected names of layers, got an empty one")


# -- names


def stem_of(node: Node) -> str:
    """What the parameters of `node` are called before `.weight`: the node's own name where they do not say."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is not None and weight.is_constant and weight.name.endswith(".weight"):
        return weight.name.removesuffix(".weight")
    return node.name


def place_in_stack(name: str) -> tuple[str, int] | None:
    """`("layer2.0.downsample", 0)` for `layer2.0.downsample.0`: the stack and the place in it."""
    found = re.fullmatch(r"(.+)\.(\d+)", name)
    return None if found is None else (found[1], int(found[2]))


def renumber(graph: Graph, stack: str, first: int) -> int:
    """Makes room at place `first` of a stack: nodes and values at it and after it move up by one, names only.

    Returns how many constants got another name.
    """
    pattern = re.compile(rf"{re.escape(stack)}\.(\d+)(\..+)?")

    def moved(name: str) -> str:
        found = pattern.fullmatch(name)
        if found is None or int(found[1]) < first:
            return name
        return f"{stack}.{int(found[1]) + 1}{found[2] or ''}"

    count = 0
    for value in list(graph.values()):
        new = moved(value.name)
        count += new != value.name and value.is_constant
        value.name = new
    for node in graph.nodes:
        node.name = moved(node.name)
    return count


def rename(node: Node, name: str) -> None:
    """Gives a node and its only output another name, which nothing else has."""
    node.name = node.output.name = name


# -- numbers


def data_of(value: Value | None) -> TensorData:
    """The elements of a value that is known to be a constant."""
    assert value is not None and value.data is not None
    return value.data


def float64(value: Value | None) -> Array:
    """The elements of a constant in double precision."""
    return data_of(value).numpy().astype(np.float64)


def rounded(array: Array, dtype: DType) -> ArrayData:
    """An array as a constant of that element type."""
    return ArrayData(np.ascontiguousarray(array.astype(dtype.numpy)))


def unit_norm(edit: Editor, anchor: Node, x: Value, name: str, stem: str, attrs: BatchNormAttrs) -> Node:
    """A new batch normalisation before `anchor` that changes nothing yet: scale 1, bias and mean 0, var 1 - eps."""
    channels, dtype = x.type.shape[1], x.type.dtype
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - attrs.epsilon}
    constants = [edit.new_constant(f"{stem}.{k}", rounded(np.full(channels, v), dtype)) for k, v in values.items()]
    return edit.insert(anchor, BATCH_NORM, attrs, [x, *constants], name)
