"""Edits a graph in one linear sweep: replacements are recorded at once, the node order is rebuilt at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType

from cnnir.errors import VerificationError
from cnnir.ir import Graph, Node, Operator, TensorData, Value
from cnnir.ir.op import A


class Editor:
    """A context in which a graph is rewritten; use lists and outputs are right at every moment, order at the end.

    `Graph.insert_before`, `Graph.erase` and `Graph.fresh_name` each walk the whole graph; a pass that makes one
    rewrite a layer would be quadratic with them.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._position = {node: i for i, node in enumerate(graph.nodes)}
        self._before: dict[Node, list[Node]] = {}
        self._dead: set[Node] = set()
        self._names: set[str] | None = None

    def __enter__(self) -> Editor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()

    # -- reading

    def is_dead(self, node: Node) -> bool:
        return node in self._dead

    def position(self, node: Node) -> int:
        """Place in the order; a new node has that of the node it was put before."""
        return self._position[node]

    def output_names(self, value: Value) -> list[str]:
        """The graph outputs that are this value."""
        return [name for name, v in self.graph.outputs.items() if v is value]

    def shared(self, value: Value) -> str | None:
        """Why `value` cannot disappear into its only reader, or `None` when it can."""
        if names := self.output_names(value):
            return f"'{value.name}' is the graph output '{names[0]}'"
        if (n := len(value.uses)) != 1:
            return f"'{value.name}' has {n} uses"
        return None

    def fresh_name(self, base: str) -> str:
        """`base`, or the first of `base_1`, `base_2`, ... that no node or value has; it is taken from now on."""
        if self._names is None:
            self._names = {v.name for v in self.graph.values()} | {n.name for n in self.graph.nodes}
            self._names |= {n.name for new in self._before.values() for n in new}
            self._names |= {v.name for new in self._before.values() for n in new for v in n.outputs}
        name, i = base, 0
        while name in self._names:
            i += 1
            name = f"{base}_{i}"
        self._names.add(name)
        return name

    # -- writing

    def constant(self, like: Value, data: TensorData, users: Iterable[Node]) -> Value:
        """A new constant in place of `like` for `users`, which are about to be replaced.

        It inherits the name if nobody else reads `like`; a constant that others share keeps its name and data.
        """
        readers = set(users)
        inherits = not self.output_names(like) and all(node in readers for node, _ in like.uses)
        return Value.constant(like.name if inherits else self.fresh_name(like.name), data)

    def new_constant(self, name: str, data: TensorData) -> Value:
        """A constant that takes nothing's place."""
        return Value.constant(self.fresh_name(name), data)

    def insert(self, anchor: Node, op: Operator[A], attrs: A, inputs: Sequence[Value | None], name: str) -> Node:
        """A new node just before `anchor`, with its place in the source and origins."""
        fresh = self.fresh_name(name)
        node = Node(op, attrs, inputs, name=fresh, loc=anchor.loc, origins=anchor.origins)
        self._place(anchor, node)
        return node

    def replace(
        self,
        root: Node,
        op: Operator[A],
        attrs: A,
        inputs: Sequence[Value | None],
        *,
        absorbed: Sequence[Node] = (),
        named: Node | None = None,
    ) -> Node:
        """Puts one new node in the place of `root`, and erases `absorbed`, whose values only `root` reads.

        The new node takes name and place in the source from `named` (default `root`), and the origins of all.
        Its place in the order is that of `root`, where everything that any of them reads is already computed.
        """
        named = named or root
        old = sorted({root, *absorbed}, key=self.position)
        origins = dict.fromkeys(o for node in old for o in node.origins)
        layouts = [v.type.layout for v in root.outputs]
        node = Node(op, attrs, inputs, name=named.name, loc=named.loc, origins=tuple(origins), layouts=layouts)
        node.output.name = named.output.name
        if node.output.type != root.output.type:
            raise VerificationError(
                f"A rewrite of '{root.name}' changes its type from {root.output.type} to {node.output.type}.",
                at=root.loc or f"node '{root.name}'",
            )
        self._place(root, node)
        self.graph.replace_value(root.output, node.output)
        for dead in reversed(old):
            self._kill(dead)
        return node

    def bypass(self, node: Node, value: Value) -> None:
        """Makes every reader of `node` read `value` instead, and erases the node."""
        if value.type != node.output.type:
            raise VerificationError(f"Bypassing '{node.name}' turns {node.output.type} into {value.type}.")
        self.graph.replace_value(node.output, value)
        self._kill(node)

    def erase(self, node: Node) -> None:
        """Removes a node that nobody reads."""
        self._kill(node)

    def erase_unread(self, value: Value | None) -> None:
        """Removes the producer of `value` if nothing reads it any more, and so on upwards."""
        pending = [] if value is None else [value]
        while pending:
            node = pending.pop().producer
            if node is None or node in self._dead:
                continue
            if any(v.uses or self.output_names(v) for v in node.outputs):
                continue
            pending += [v for v in node.inputs if v is not None]
            self._kill(node)

    def commit(self) -> None:
        """Rebuilds the node order; the editor can be used further."""
        if not self._before and not self._dead:
            return
        order: list[Node] = []
        for node in self.graph.nodes:
            order += self._flatten(node)
        self.graph.nodes = order
        self._position = {node: i for i, node in enumerate(order)}
        self._before, self._dead, self._names = {}, set(), None

    # -- inside

    def _place(self, anchor: Node, node: Node) -> None:
        self._before.setdefault(anchor, []).append(node)
        self._position[node] = self._position[anchor]

    def _flatten(self, node: Node) -> list[Node]:
        """Live nodes that go before `node`, then itself; new nodes may in turn have been replaced."""
        result: list[Node] = []
        pending: list[tuple[Node, bool]] = [(node, False)]
        while pending:
            current, opened = pending.pop()
            if opened:
                if current not in self._dead:
                    result.append(current)
                continue
            pending.append((current, True))
            pending += [(n, False) for n in reversed(self._before.get(current, []))]
        return result

    def _kill(self, node: Node) -> None:
        for value in node.outputs:
            if value.uses or self.output_names(value):
                raise VerificationError(f"Cannot erase '{node.name}': its value '{value.name}' is still used.")
        for i in range(len(node.inputs)):
            node.set_input(i, None)
        self._dead.add(node)
