"""Reads the text form of a graph (see `cnnir.ir.text`), with line and column in every complaint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.ir.data import TensorData
from cnnir.ir.graph import Graph, Node, Value
from cnnir.ir.literals import MismatchError, Raw, Record, Word, build
from cnnir.ir.loc import Loc
from cnnir.ir.op import Attrs
from cnnir.ir.registry import operator
from cnnir.ir.types import BATCH, PLAIN, DType, Halo, Layout, TensorType

FORMAT = 1
"""Version of the text form, in its first line."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?(?:inf|nan|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w.])")
_TYPE = re.compile(r"(\w+)\[([^\]]*)\](?:@nchw(\d+)c(?:\+(\d+),(\d+),(\d+),(\d+))?)?")


def parse_graph(text: str, weights: Mapping[str, TensorData] | None = None, *, source: str = "<text>") -> Graph:
    """The graph that `print_graph` printed, with the constants' elements from `weights` (by tensor name).

    The operators must be registered (`import cnnir.ops`).

    Raises:
        CnnirError: the text is malformed (line and column; `source` names the text), the graph is ill-typed, or
            `weights` misses a tensor, has one too many, or one of another type.
    """
    return parse_with(text, lambda _: weights or {}, source=source, given=weights)


def parse_with(
    text: str,
    open_weights: Callable[[str], Mapping[str, TensorData]],
    *,
    source: str,
    given: Mapping[str, TensorData] | None = None,
) -> Graph:
    """As `parse_graph`, but the text names its weight file, which `open_weights` opens."""
    return _Parser(text, open_weights, source, given).run()


class _Line:
    """One statement, read from left to right."""

    def __init__(self, text: str, number: int, source: str) -> None:
        self.text, self.number, self.source = text, number, source
        self.at = 0
        self.skip()

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r":
            self.at += 1
        if self.text[self.at : self.at + 1] == "#":
            self.at = len(self.text)

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    @property
    def place(self) -> str:
        return f"{self.source}:{self.number}:{self.at + 1}"

    def fail(self, expected: str) -> NoReturn:
        rest = self.text[self.at :].strip()
        got = f"'{rest if len(rest) <= 24 else rest[:21] + '...'}'" if rest else "the end of the line"
        raise CnnirError(f"Expected {expected}, got {got}.", at=self.place)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
            self.skip()
        return found

    def accept(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        end = self.at + len(literal)
        if literal[-1].isalnum() and _NAME.match(self.text, end):
            return False  # a keyword ends where the word ends
        self.at = end
        self.skip()
        return True

    def expect(self, literal: str) -> None:
        if not self.accept(literal):
            self.fail(f"'{literal}'")

    def string(self, what: str) -> str:
        start = self.at
        found = self.match(_STRING)
        if not found:
            self.fail(f"{what} in double quotes")
        try:
            return str(json.loads(found.group()))
        except ValueError:
            self.at = start
            self.fail(f"{what} in double quotes")

    def name(self) -> str:
        """A value, `%name` or `%"any name"`."""
        self.expect("%")
        if self.text[self.at : self.at + 1] == '"':
            return self.string("a value's name")
        found = self.match(_NAME)
        if not found:
            self.fail("a value's name")
        return found.group()

    def type(self) -> TensorType:
        start = self.at
        found = self.match(_TYPE)
        if not found:
            self.fail("a type such as f32[N,3,224,224]")
        dtype, dims, block, *halo = found.groups()
        try:
            if dtype not in list(DType):
                raise UnknownNameError("element type", dtype, DType, at=f"{self.source}:{self.number}:{start + 1}")
            shape = tuple(BATCH if d.strip() == "N" else int(d) for d in dims.split(",")) if dims.strip() else ()
            layout = PLAIN
            if block is not None:
                top, left, bottom, right = (int(h or 0) for h in halo)
                border: Halo = (top, left, bottom, right)
                layout = Layout(int(block), border)
            return TensorType(DType(dtype), shape, layout)
        except ValueError as error:
            self.at = start
            raise CnnirError(f"'{found.group()}' is no type: {error}.", at=self.place) from error

    def literal(self) -> Raw:
        """The value of an attribute."""
        if self.text[self.at : self.at + 1] == '"':
            return self.string("text")
        if number := self.match(_NUMBER):
            text = number.group()
            return int(text) if text.lstrip("-").isdigit() else float(text)
        if self.accept("["):
            items: list[Raw] = []
            while not self.accept("]"):
                if items:
                    self.expect(",")
                items.append(self.literal())
            return tuple(items)
        word = self.match(_WORD)
        if not word:
            self.fail("a value")
        text = word.group()
        if text in ("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[text]
        if self.accept("("):
            return Record(text, self.fields(")"))
        return Word(text)

    def fields(self, close: str) -> dict[str, tuple[Raw, str]]:
        """`name=value, ...` up to the closing bracket, each with its place."""
        fields: dict[str, tuple[Raw, str]] = {}
        while not self.accept(close):
            if fields:
                self.expect(",")
            place = self.place
            word = self.match(_WORD)
            if not word:
                self.fail(f"an attribute's name or '{close}'")
            if word.group() in fields:
                raise CnnirError(f"Attribute '{word.group()}' is given twice.", at=place)
            self.expect("=")
            fields[word.group()] = (self.literal(), place)
        return fields


@dataclass(frozen=True, slots=True)
class _Constant:
    name: str
    type: TensorType
    tensor: str


class _Parser:
    def __init__(
        self,
        text: str,
        open_weights: Callable[[str], Mapping[str, TensorData]],
        source: str,
        given: Mapping[str, TensorData] | None,
    ) -> None:
        self.source = source
        self.open_weights = open_weights
        self.lines = [
            line for i, part in enumerate(text.split("\n"), 1) if not (line := _Line(part, i, source)).done
        ]
        self.graph = Graph("")
        self.values: dict[str, Value] = {}
        self.value_names: set[str] = set()
        self.node_names: set[str] = set()
        self.tensors: Mapping[str, TensorData] | None = given
        self.constants: list[_Constant] = []
        self.bound = False

    def run(self) -> Graph:
        self.header()
        for line in self.lines:
            self.statement(line)
            if not line.done:
                line.fail("the end of the line")
        self.bind()
        return self.graph

    def header(self) -> None:
        found = self.lines[0] if self.lines else None
        if found is None or not found.accept("cnnir"):
            raise CnnirError(
                f"'{self.source}' is not a graph in text form.",
                hints=[f"Its first line would be 'cnnir {FORMAT}'."],
            )
        version = found.match(_NUMBER)
        if not version or version.group() != str(FORMAT):
            raise CnnirError(
                f"This is version {found.text.removeprefix('cnnir').strip()} of the text form, which this "
                f"cnnir does not read.",
                at=f"{self.source}:{found.number}",
                hints=[f"It reads version {FORMAT}."],
            )
        del self.lines[0]
        if not found.done:
            found.fail("the end of the line")

    def statement(self, line: _Line) -> None:
        if line.accept("graph"):
            self.graph.name = line.string("the graph's name")
        elif line.accept("weights"):
            name = line.string("a file name")
            self.tensors = self.open_weights(name) if self.tensors is None else self.tensors
        elif line.accept("input"):
            name = self.new_name(line)
            line.expect(":")
            value = Value(name, line.type())
            self.graph.inputs.append(value)
            self.values[name] = value
        elif line.accept("const"):
            self.constant(line)
        elif line.accept("output"):
            self.bind()
            place = line.place
            name = line.string("an output's name")
            if name in self.graph.outputs:
                raise CnnirError(f"Output '{name}' is given twice.", at=place)
            line.expect("=")
            self.graph.outputs[name] = self.value(line)
        else:
            self.bind()
            self.node(line)

    def new_name(self, line: _Line) -> str:
        place = line.place
        name = line.name()
        if name in self.value_names:
            raise CnnirError(f"Value '{name}' is defined twice.", at=place)
        self.value_names.add(name)
        return name

    def constant(self, line: _Line) -> None:
        if self.bound:
            line.fail("no constant behind the first node")
        name = self.new_name(line)
        line.expect(":")
        type = line.type()
        if not type.is_static:
            raise CnnirError(f"Constant '{name}' cannot have an unknown batch size.", at=line.place)
        tensor = line.string("a tensor's name") if line.accept("=") else name
        self.constants.append(_Constant(name, type, tensor))

    def bind(self) -> None:
        """Gives the constants their elements, once all are known."""
        if self.bound:
            return
        self.bound = True
        tensors = self.tensors or {}
        wanted = dict.fromkeys(c.tensor for c in self.constants)
        missing = [name for name in wanted if name not in tensors]
        extra = [name for name in tensors if name not in wanted]
        wrong = []
        for c in self.constants:
            data = tensors.get(c.tensor)
            if data is not None and (data.dtype, data.shape) != (c.type.dtype, c.type.shape):
                wrong.append(f"'{c.name}' expected {c.type}, got {TensorType(data.dtype, data.shape)}")
        notes = [
            *([f"Missing: {_listed(missing)}."] if missing else []),
            *([f"Not used: {_listed(extra)}."] if extra else []),
            *([f"Of another type: {'; '.join(wrong[:8])}{_more(wrong)}."] if wrong else []),
        ]
        if notes:
            raise CnnirError(f"The weights do not fit graph '{self.graph.name}'.", at=self.source, notes=notes)
        for c in self.constants:
            self.values[c.name] = Value(c.name, c.type, data=tensors[c.tensor])

    def value(self, line: _Line) -> Value:
        place = line.place
        name = line.name()
        if name not in self.values:
            raise UnknownNameError("value", name, self.values, at=place)
        return self.values[name]

    def node(self, line: _Line) -> None:
        outputs: list[tuple[str, TensorType]] = []
        while not outputs or line.accept(","):
            if line.text[line.at : line.at + 1] != "%":
                line.fail("a statement")
            name = self.new_name(line)
            line.expect(":")
            outputs.append((name, line.type()))
        line.expect("=")
        place = line.place
        word = line.match(_WORD)
        if not word:
            line.fail("an operator")
        try:
            op = operator(word.group())
        except UnknownNameError as error:
            error.at = place
            raise
        line.expect("(")
        inputs: list[Value | None] = []
        while not line.accept(")"):
            if inputs:
                line.expect(",")
            inputs.append(None if line.accept("_") else self.value(line))
        inputs += [None] * (len(op.ports) - len(inputs))
        fields = line.fields("}") if line.accept("{") else {}
        try:
            attrs = build(op.attrs_type, op.name, fields, place)
        except MismatchError as error:
            raise CnnirError(error.message, at=error.at or place, hints=error.hints) from None
        assert isinstance(attrs, Attrs)
        node_name = outputs[0][0]
        if line.accept("name"):
            node_name = line.string("a node's name")
        if node_name in self.node_names:
            raise CnnirError(f"Two nodes are called '{node_name}'.", at=place)
        loc = self.location(line)
        origins = []
        if line.accept("from"):
            origins.append(line.string("an origin"))
            while line.accept(","):
                origins.append(line.string("an origin"))
        try:
            node = Node(op, attrs, inputs, name=node_name, loc=loc, origins=origins)
        except CnnirError as error:
            raise CnnirError(error.message, at=place, notes=error.notes, hints=error.hints) from error
        self.define(node, outputs, place)

    def location(self, line: _Line) -> Loc | None:
        if not line.accept("at"):
            return None
        file = line.string("a file name")
        number = 0
        if line.accept(":"):
            found = line.match(_NUMBER)
            if not found or not found.group().isdigit():
                line.fail("a line number")
            number = int(found.group())
        detail = line.string("a detail") if line.text[line.at : line.at + 1] == '"' else ""
        return Loc(file, number, detail)

    def define(self, node: Node, outputs: list[tuple[str, TensorType]], place: str) -> None:
        if len(outputs) != len(node.outputs):
            raise CnnirError(f"'{node.op}' gives {len(node.outputs)} values, got {len(outputs)} names.", at=place)
        for value, (name, type) in zip(node.outputs, outputs, strict=True):
            if type.with_layout(PLAIN) != value.type:
                raise CnnirError(
                    f"Value '{name}' is written as {type.with_layout(PLAIN)}, but '{node.op}' gives {value.type}.",
                    at=place,
                )
            value.name, value.type = name, type
            self.values[name] = value
        self.node_names.add(node.name)
        self.graph.nodes.append(node)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + _more(names)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 8} more" if len(names) > 8 else ""
