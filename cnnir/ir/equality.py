"""Structural equality of graphs, and the first difference in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from cnnir.ir.data import TensorData, digest
from cnnir.ir.graph import Graph, Node, Value


def equal(a: Graph, b: Graph, *, names: bool = True) -> bool:
    """Whether the graphs are the same: see `difference`."""
    return difference(a, b, names=names) is None


def difference(a: Graph, b: Graph, *, names: bool = True) -> str | None:
    """The first difference in a sentence, or `None`.

    Compared are inputs, nodes in order (operator, attributes, wiring), types with layouts, the elements of the
    constants, and the outputs with their names and order. `names` adds the names of graph, values and nodes,
    and the nodes' locations and origins.
    """
    return _Comparison(a, b, names).run()


class _Comparison:
    def __init__(self, a: Graph, b: Graph, names: bool) -> None:
        self.a, self.b, self.names = a, b, names
        self.image: dict[Value, Value] = {}
        self.taken: set[Value] = set()

    def run(self) -> str | None:
        a, b = self.a, self.b
        if self.names and a.name != b.name:
            return f"The graph is called '{a.name}' here and '{b.name}' there."
        if len(a.inputs) != len(b.inputs):
            return f"There are {len(a.inputs)} inputs here and {len(b.inputs)} there."
        for x, y in zip(a.inputs, b.inputs, strict=True):
            if why := self.define(x, y):
                return f"Input '{x.name}': {why}"
        for m, n in zip_longest(a.nodes, b.nodes):
            if m is None or n is None:
                extra, where = (n, "there") if m is None else (m, "here")
                return f"Node '{extra.name}' ({extra.op}) is only {where}."
            if why := self.node(m, n):
                return f"Node '{m.name}': {why}"
        if list(a.outputs) != list(b.outputs):
            return f"The outputs are {list(a.outputs)} here and {list(b.outputs)} there."
        for name, x in a.outputs.items():
            if why := self.read(x, b.outputs[name]):
                return f"Output '{name}': {why}"
        return None

    def define(self, x: Value, y: Value) -> str | None:
        if self.names and x.name != y.name:
            return f"it is called '{x.name}' here and '{y.name}' there."
        if x.type != y.type:
            return f"'{x.name}' is {x.type} here and {y.type} there."
        self.image[x] = y
        self.taken.add(y)
        return None

    def read(self, x: Value | None, y: Value | None) -> str | None:
        if x is None or y is None:
            missing = "here" if x is None else "there"
            return None if x is y else f"an input is left out {missing} only."
        if x in self.image or y in self.taken:
            return None if self.image.get(x) is y else f"it reads '{x.name}' here and '{y.name}' there."
        if x.data is None or y.data is None:
            return f"it reads '{x.name}' here and '{y.name}' there."
        if why := self.define(x, y):
            return f"it reads another constant: {why}"
        return None if _same(x.data, y.data) else f"the elements of '{x.name}' differ."

    def node(self, m: Node, n: Node) -> str | None:
        if m.op is not n.op:
            return f"it is a {m.op} here and a {n.op} there."
        if repr(m.attrs) != repr(n.attrs) and m.attrs != n.attrs:
            return f"its attributes are {m.attrs} here and {n.attrs} there."
        if len(m.inputs) != len(n.inputs):
            return f"it has {len(m.inputs)} inputs here and {len(n.inputs)} there."
        for x, y in zip(m.inputs, n.inputs, strict=True):
            if why := self.read(x, y):
                return why
        for x, y in zip(m.outputs, n.outputs, strict=True):
            if why := self.define(x, y):
                return why
        if self.names:
            pairs: Sequence[tuple[str, object, object]] = (
                ("name", m.name, n.name),
                ("location", m.loc, n.loc),
                ("origins", m.origins, n.origins),
            )
            for what, here, there in pairs:
                if here != there:
                    return f"its {what}: {here} here and {there} there."
        return None


def _same(x: TensorData, y: TensorData) -> bool:
    return x is y or digest(x) == digest(y)
