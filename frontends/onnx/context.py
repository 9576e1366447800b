"""What a converter sees: one ONNX node with its attributes and inputs read by type, and the graph being built."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx

from cnnir.errors import CnnirError
from cnnir.frontends.onnx.batch import BatchSize
from cnnir.ir import Array, ArrayData, Attrs, DType, Loc, Node, Operator, Value

Entry = Value | Array
"""A tensor of the file: a value of the graph, or an array known while importing (weights, sizes, indices).

Known arrays become constants of the graph only where a node reads them as a tensor."""

A = TypeVar("A", bound=Attrs)

_KINDS = {
    onnx.AttributeProto.INT: "an integer",
    onnx.AttributeProto.INTS: "a list of integers",
    onnx.AttributeProto.FLOAT: "a number",
    onnx.AttributeProto.FLOATS: "a list of numbers",
    onnx.AttributeProto.STRING: "a string",
    onnx.AttributeProto.TENSOR: "a tensor",
}


class Context:
    """The graph under construction. `reads` counts how often the file reads each tensor, graph outputs included."""

    def __init__(self, file: str, opset: int, reads: Counter[str]) -> None:
        self.file = file
        self.opset = opset
        self.reads = reads
        self.nodes: list[Node] = []
        self.entries: dict[str, Entry] = {}
        self._constants: dict[str, Value] = {}
        self._taken: set[str] = set()

    def unique(self, base: str) -> str:
        """`base`, or `base_1`, ...: a name that nothing in the graph has yet; it is taken from now on."""
        name, i = base, 0
        while name in self._taken:
            i += 1
            name = f"{base}_{i}"
        self._taken.add(name)
        return name

    def entry(self, name: str, at: object) -> Entry:
        try:
            return self.entries[name]
        except KeyError:
            raise CnnirError(f"Reads '{name}', which nothing before it defines.", at=at) from None

    def value(self, name: str, at: object) -> Value:
        """The tensor as a value; a known array becomes a constant, one for all its readers."""
        entry = self.entry(name, at)
        if isinstance(entry, Value):
            return entry
        if name not in self._constants:
            self._constants[name] = self.constant(name, entry, at)
        return self._constants[name]

    def constant(self, name: str, array: Array, at: object) -> Value:
        """A new constant called `name` or like it; shares the array's memory where it is in row-major order."""
        if array.dtype == object:
            raise CnnirError(
                f"Computes with '{name}', a size that depends on the batch size.",
                at=at,
                hints=["Export the model with a fixed batch size."],
            )
        try:
            data = ArrayData(np.asarray(array, order="C"))
            DType.of(array.dtype)
        except CnnirError as error:
            error.at = str(at)
            raise
        return Value.constant(self.unique(name), data)


class Call:
    """One node of the file, being converted. Errors it raises name the node."""

    def __init__(self, context: Context, proto: Any, name: str, domain: str = "") -> None:
        self.context = context
        self.proto = proto
        self.op: str = proto.op_type
        self.name = name
        self.opset = context.opset
        self.loc = Loc(context.file, detail=f"node '{name}'")
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        self._attributes: dict[str, Any] = {a.name: a for a in proto.attribute}
        self._emitted = 0

    def error(self, message: str, *, notes: Sequence[str] = (), hints: Sequence[str] = ()) -> CnnirError:
        return CnnirError(message, at=self.loc, notes=notes, hints=hints)

    # -- attributes

    def has(self, name: str) -> bool:
        return name in self._attributes

    def _attribute(self, name: str, kind: int) -> Any:
        found = self._attributes.get(name)
        if found is None:
            return None
        if found.type != kind:
            got = _KINDS.get(found.type, "something else")
            raise self.error(f"Attribute '{name}' of '{self.op}': expected {_KINDS[kind]}, got {got}.")
        return found

    def int_attr(self, name: str, default: int) -> int:
        found = self._attribute(name, onnx.AttributeProto.INT)
        return default if found is None else int(found.i)

    def float_attr(self, name: str, default: float) -> float:
        found = self._attribute(name, onnx.AttributeProto.FLOAT)
        return default if found is None else decimal(found.f)

    def string_attr(self, name: str, default: str) -> str:
        found = self._attribute(name, onnx.AttributeProto.STRING)
        return default if found is None else bytes(found.s).decode(errors="replace")

    def ints_attr(self, name: str) -> tuple[int, ...] | None:
        found = self._attribute(name, onnx.AttributeProto.INTS)
        return None if found is None else tuple(int(i) for i in found.ints)

    def floats_attr(self, name: str) -> tuple[float, ...] | None:
        found = self._attribute(name, onnx.AttributeProto.FLOATS)
        return None if found is None else tuple(decimal(x) for x in found.floats)

    def tensor_attr(self, name: str) -> Any:
        """The `TensorProto` of a tensor attribute."""
        found = self._attribute(name, onnx.AttributeProto.TENSOR)
        return None if found is None else found.t

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.int_attr(name, int(default)))

    # -- inputs

    def given(self, i: int) -> bool:
        """Whether the node has an input at that position (an empty name means left out)."""
        return i < len(self.inputs) and self.inputs[i] != ""

    def entry(self, i: int) -> Entry:
        if not self.given(i):
            raise self.error(f"Input {i} of '{self.op}' is missing.")
        return self.context.entry(self.inputs[i], self.loc)

    def value(self, i: int) -> Value:
        self.entry(i)
        return self.context.value(self.inputs[i], self.loc)

    def optional(self, i: int) -> Value | None:
        return self.value(i) if self.given(i) else None

    def known(self, i: int) -> Array | None:
        """The input as an array if it is known now; it may hold `BatchSize` objects."""
        entry = self.entry(i)
        return None if isinstance(entry, Value) else entry

    def array(self, i: int, what: str) -> Array:
        """The input, which must be known now and not depend on the batch size."""
        array = self.known(i)
        if array is None or array.dtype == object:
            why = "the model computes it" if array is None else "it depends on the batch size"
            raise self.error(
                f"Expected a constant as the {what} of '{self.op}' (input '{self.inputs[i]}'), but {why}.",
                hints=["Simplify the model (constant folding) or export it with fixed sizes."],
            )
        return array

    def integers(self, i: int, what: str) -> tuple[int, ...]:
        array = self.array(i, what)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise self.error(f"Expected a list of integers as the {what} of '{self.op}', got {describe(array)}.")
        return tuple(int(x) for x in array.reshape(-1))

    def scalar(self, i: int, what: str) -> float:
        array = self.array(i, what)
        if array.size != 1 or array.dtype.kind not in "fiubV":
            raise self.error(f"Expected one number as the {what} of '{self.op}', got {describe(array)}.")
        number = array.reshape(-1)[0]
        return decimal(number) if array.dtype == np.float32 else float(number)

    def settled(self, i: int, what: str) -> Value:
        """The input as a value that depends on no input of the graph: weights, or `DequantizeLinear` of them."""
        value = self.value(i)
        todo, seen = [value], {value}
        while todo:
            v = todo.pop()
            if v.producer is None and not v.is_constant:
                raise self.error(
                    f"Expected a constant as the {what} of '{self.op}', but input '{self.inputs[i]}' is computed "
                    f"from the graph input '{v.name}'."
                )
            for w in v.producer.inputs if v.producer else ():
                if w is not None and w not in seen:
                    seen.add(w)
                    todo.append(w)
        return value

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front."""
        if not -rank <= axis < rank:
            raise self.error(f"Axis {axis} of '{self.op}' is out of range for {rank} dimensions.")
        return axis % rank

    def no_more_outputs(self) -> None:
        """Refuses a node whose second or later output is read."""
        for name in self.outputs[1:]:
            if self.context.reads[name]:
                raise self.error(f"Only the first output of '{self.op}' is supported, but '{name}' is used.")

    # -- the graph

    def emit(self, op: Operator[A], attrs: A, *inputs: Value | None, suffix: str = "") -> Value:
        """Adds a node; the one that gives the result has no suffix and so keeps the name from the file."""
        (value,) = self.emit_several(op, attrs, *inputs, suffix=suffix)
        return value

    def emit_several(self, op: Operator[A], attrs: A, *inputs: Value | None, suffix: str = "") -> tuple[Value, ...]:
        """Adds a node and gives all its outputs."""
        name = self.context.unique(f"{self.name}.{suffix}" if suffix else self.name)
        node = Node(op, attrs, inputs, name=name, loc=self.loc, origins=(self.name,))
        for value in node.outputs:
            if too_large(value.type.shape):
                raise self.error(f"The result {value.type} of '{self.op}' is too large.")
            if value.name != name:
                value.name = self.context.unique(value.name)
        self.context.nodes.append(node)
        return node.outputs

    def constant(self, array: Array, name: str) -> Value:
        """A constant that the file does not have as such."""
        return self.context.constant(name, array, self.loc)

    def number(self, x: float, like: Value) -> Value:
        """A scalar constant of the element type of `like`."""
        return self.constant(np.asarray(x, like.type.dtype.numpy), f"{self.name}.constant")


Result = Entry | Sequence[Entry]
Converter = Callable[[Call], Result]
"""Turns one node into nodes of the graph; returns its output, or as many as it defines."""


def too_large(shape: Sequence[int]) -> bool:
    """Whether a shape is that of a damaged file rather than of a network: 2^24 along one axis, 2^40 elements."""
    return max(shape, default=0) > 1 << 24 or math.prod(abs(d) for d in shape) > 1 << 40


def decimal(x: float) -> float:
    """The shortest decimal that rounds to the float32 `x`: what its author wrote, 0.001 and not 0.001000000047.

    ONNX keeps numbers as float32, attributes here are float64. The two differ by less than float32 resolves, so
    the function stays the same, prints better, and survives being written and read again.
    """
    return float(str(np.float32(x)))


def describe(array: Array) -> str:
    """Element type and shape, as the text form writes types."""
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def axes_of(call: Call, rank: int, *, since: int, position: int = 1) -> tuple[int, ...] | None:
    """Axes given as an attribute before opset `since` and as an input from then on, counted from the front."""
    if call.opset < since:
        axes = call.ints_attr("axes")
    else:
        axes = call.integers(position, "axes") if call.given(position) else None
    if axes is None:
        return None
    counted = tuple(call.axis(a, rank) for a in axes)
    if len(set(counted)) != len(counted):
        raise call.error(f"The axes of '{call.op}' repeat: {list(axes)}.")
    return counted


def shape_of(entry: Entry) -> tuple[int | BatchSize, ...]:
    """The shape with the symbolic batch size as `BatchSize`."""
    if isinstance(entry, Value):
        return tuple(BatchSize() if d < 0 else d for d in entry.type.shape)
    return entry.shape
