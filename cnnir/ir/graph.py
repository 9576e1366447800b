"""The SSA graph: values with tracked uses, nodes that infer their own types, and the graph that orders them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cnnir.errors import CnnirError, ShapeError, VerificationError
from cnnir.ir.data import TensorData
from cnnir.ir.loc import Loc
from cnnir.ir.op import A, Attrs, Operator, Port
from cnnir.ir.types import PLAIN, Layout, TensorType


class Value:
    """A tensor of the graph: an input, a constant (`data` is set) or an output of a node (`producer` is set)."""

    __slots__ = ("_uses", "data", "index", "name", "producer", "type")

    def __init__(
        self,
        name: str,
        type: TensorType,
        *,
        data: TensorData | None = None,
        producer: Node | None = None,
        index: int = 0,
    ) -> None:
        if data is not None and (data.shape != type.shape or data.dtype != type.dtype):
            raise VerificationError(
                f"Constant '{name}' of type {type} got data of type {data.dtype}{list(data.shape)}."
            )
        self.name = name
        self.type = type
        self.data = data
        self.producer = producer
        self.index = index
        # A dict as an ordered set: deterministic iteration, constant-time removal.
        self._uses: dict[tuple[Node, int], None] = {}

    @classmethod
    def constant(cls, name: str, data: TensorData) -> Value:
        return cls(name, TensorType(data.dtype, data.shape), data=data)

    @property
    def uses(self) -> tuple[tuple[Node, int], ...]:
        """Every (node, input position) that reads this value, in the order in which they began to."""
        return tuple(self._uses)

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    def replace_uses(self, new: Value) -> None:
        """Makes every reader of this value read `new` instead. Graph outputs are `Graph.replace_value`'s."""
        for node, i in self.uses:
            node.set_input(i, new)

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Node:
    """One application of an operator. Building it infers the output types, so an ill-typed node cannot exist.

    `origins` names the source nodes it stands for; rewrites must carry them over. `layouts` gives the physical
    layout of each output (plain unless a backend's layout pass has chosen).
    """

    __slots__ = ("attrs", "inputs", "loc", "name", "op", "origins", "outputs")

    def __init__(
        self,
        op: Operator[A],
        attrs: A,
        inputs: Sequence[Value | None],
        *,
        name: str,
        loc: Loc | None = None,
        origins: Sequence[str] = (),
        layouts: Sequence[Layout] = (),
    ) -> None:
        self.op: Operator[Attrs] = op  # type: ignore[assignment]  # attrs and op belong together by construction
        self.attrs: Attrs = attrs
        self.name = name
        self.loc = loc
        self.origins = tuple(origins) or (name,)
        self.inputs: tuple[Value | None, ...] = (None,) * len(inputs)
        self._check_arity(inputs)
        types = self.infer([None if v is None else v.type for v in inputs])
        if layouts:
            types = tuple(t.with_layout(layout) for t, layout in zip(types, layouts, strict=True))
        names = [name] if len(types) == 1 else [f"{name}.{i}" for i in range(len(types))]
        self.outputs: tuple[Value, ...] = tuple(
            Value(n, t, producer=self, index=i) for i, (n, t) in enumerate(zip(names, types, strict=True))
        )
        for i, value in enumerate(inputs):
            self.set_input(i, value)

    def _check_arity(self, inputs: Sequence[Value | None]) -> None:
        ports = self.op.ports
        variadic = bool(ports) and ports[-1].variadic
        fits = len(inputs) >= len(ports) if variadic else len(inputs) == len(ports)
        if not fits:
            raise VerificationError(
                f"'{self.op.name}' takes {len(ports)}{' or more' if variadic else ''} inputs, got {len(inputs)}.",
                at=self.loc or f"node '{self.name}'",
            )
        for port, value in zip(ports, inputs, strict=False):
            if value is None and not port.optional:
                raise VerificationError(
                    f"Input '{port.name}' of '{self.op.name}' is missing.", at=self.loc or f"node '{self.name}'"
                )

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        """The output types (plain layout) that inputs of these types would give."""
        plain = [None if t is None else t.with_layout(PLAIN) for t in inputs]
        try:
            return self.op.infer(self.attrs, plain)
        except CnnirError as error:
            if error.at is None:
                error.at = str(self.loc or f"node '{self.name}'")
            raise

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value

    def input(self, port: str) -> Value | None:
        """The value at the port of that name (not for variadic ports)."""
        for p, value in zip(self.op.ports, self.inputs, strict=False):
            if p.name == port:
                return value
        raise KeyError(port)

    def set_input(self, i: int, value: Value | None) -> None:
        """Replaces one input, keeping the use lists right. Types are checked by `Graph.verify`."""
        old = self.inputs[i]
        if old is not None:
            old._uses.pop((self, i), None)
        if value is not None:
            value._uses[(self, i)] = None
        self.inputs = (*self.inputs[:i], value, *self.inputs[i + 1 :])

    def __repr__(self) -> str:
        return f"{self.op.name} '{self.name}'"


class Graph:
    """A network: named inputs, named outputs, nodes in topological order.

    Output names belong to the graph, not to values, so a rewrite cannot rename an output by accident.
    Constants are the values with data that nodes read; they are not listed separately.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Value] = (),
        outputs: Mapping[str, Value] | None = None,
        nodes: Sequence[Node] = (),
    ) -> None:
        self.name = name
        self.inputs: list[Value] = list(inputs)
        self.outputs: dict[str, Value] = dict(outputs or {})
        self.nodes: list[Node] = list(nodes)

    # -- reading

    def constants(self) -> Iterator[Value]:
        """Every constant once, in the order of first use."""
        seen: set[Value] = set()
        for node in self.nodes:
            for value in node.inputs:
                if value is not None and value.is_constant and value not in seen:
                    seen.add(value)
                    yield value
        for value in self.outputs.values():
            if value.is_constant and value not in seen:
                seen.add(value)
                yield value

    def parameters(self) -> Iterator[Value]:
        """The constants that sit at a `parameter` port: what training would learn."""
        learned = {
            value
            for node in self.nodes
            for value, port in zip(node.inputs, ports_of(node), strict=True)
            if value is not None and value.is_constant and port.parameter
        }
        return (value for value in self.constants() if value in learned)

    def values(self) -> Iterator[Value]:
        """Inputs, constants and node outputs."""
        yield from self.inputs
        yield from self.constants()
        for node in self.nodes:
            yield from node.outputs

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def is_output(self, value: Value) -> bool:
        return any(v is value for v in self.outputs.values())

    def fresh_name(self, base: str) -> str:
        """`base`, or `base_1`, `base_2`, ...: the first that no node or value has."""
        # One plain walk (no `constants()`): passes call this hundreds of times on graphs of hundreds of nodes.
        taken = {v.name for v in self.inputs} | {v.name for v in self.outputs.values()}
        for node in self.nodes:
            taken.add(node.name)
            taken.update([v.name for v in node.outputs], [v.name for v in node.inputs if v is not None])
        if base not in taken:
            return base
        i = 1
        while f"{base}_{i}" in taken:
            i += 1
        return f"{base}_{i}"

    # -- writing

    def insert_before(self, anchor: Node, *new: Node) -> None:
        """Puts nodes just before `anchor` in the order."""
        i = self.nodes.index(anchor)
        self.nodes[i:i] = new

    def replace_value(self, old: Value, new: Value) -> None:
        """Makes every reader of `old`, graph outputs included, read `new`."""
        old.replace_uses(new)
        for name, value in self.outputs.items():
            if value is old:
                self.outputs[name] = new

    def erase(self, dead: Iterable[Node]) -> None:
        """Removes nodes whose values nobody outside `dead` reads."""
        gone = set(dead)
        for node in gone:
            for value in node.outputs:
                if self.is_output(value) or any(user not in gone for user, _ in value.uses):
                    raise VerificationError(f"Cannot erase '{node.name}': its value '{value.name}' is still used.")
        for node in gone:
            for i in range(len(node.inputs)):
                node.set_input(i, None)
        self.nodes = [n for n in self.nodes if n not in gone]

    def clone(self, *, batch: int | None = None) -> Graph:
        """A copy that shares constant data; with `batch` given, the symbolic batch size becomes that number."""
        image: dict[Value, Value] = {}

        def copy(value: Value) -> Value:
            if value not in image:
                type = value.type if batch is None else value.type.with_batch(batch)
                image[value] = Value(value.name, type, data=value.data)
            return image[value]

        inputs = [copy(v) for v in self.inputs]
        nodes = []
        for old in self.nodes:
            new = Node(
                old.op,
                old.attrs,
                [None if v is None else copy(v) for v in old.inputs],
                name=old.name,
                loc=old.loc,
                origins=old.origins,
                layouts=[v.type.layout for v in old.outputs],
            )
            for before, after in zip(old.outputs, new.outputs, strict=True):
                after.name = before.name
                image[before] = after
            nodes.append(new)
        return Graph(self.name, inputs, {name: copy(v) for name, v in self.outputs.items()}, nodes)

    def verify(self) -> None:
        """Raises `VerificationError` unless order, use lists, types and names are right."""
        defined = set(self.inputs)
        names: dict[str, Value] = {}
        node_names: set[str] = set()
        uses: dict[tuple[Node, int], Value] = {}
        for value in self.values():
            if names.setdefault(value.name, value) is not value:
                raise VerificationError(f"Two values are called '{value.name}'.")
        for node in self.nodes:
            where = f"node '{node.name}'"
            if node.name in node_names:
                raise VerificationError(f"Two nodes are called '{node.name}'.")
            node_names.add(node.name)
            for i, used in enumerate(node.inputs):
                if used is None:
                    continue
                uses[(node, i)] = used
                if not used.is_constant and used not in defined:
                    raise VerificationError(f"'{used.name}' is read before it is defined.", at=where)
                if (node, i) not in used._uses:
                    raise VerificationError(f"The use list of '{used.name}' misses input {i}.", at=where)
            node._check_arity(node.inputs)
            try:
                types = node.infer([None if v is None else v.type for v in node.inputs])
            except ShapeError as error:
                raise VerificationError(f"Inputs no longer fit: {error}", at=where) from error
            stale = [v for v, t in zip(node.outputs, types, strict=True) if v.type.with_layout(PLAIN) != t]
            if stale:
                raise VerificationError(f"The type of '{stale[0].name}' is stale.", at=where)
            defined.update(node.outputs)
        for value in self.values():
            for use in value._uses:
                if uses.get(use) is not value:
                    raise VerificationError(f"'{value.name}' lists a use by '{use[0].name}' that is not there.")
        for name, value in self.outputs.items():
            if value not in defined and not value.is_constant:
                raise VerificationError(f"Output '{name}' is '{value.name}', which nothing defines.")

    def __repr__(self) -> str:
        return f"Graph('{self.name}', {len(self.nodes)} nodes)"


def ports_of(node: Node) -> list[Port]:
    ports = list(node.op.ports)
    if ports and ports[-1].variadic:
        ports += [ports[-1]] * (len(node.inputs) - len(ports))
    return ports
