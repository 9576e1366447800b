"""The graph under construction: names, scopes, parameters, nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING

import numpy as np

from cnnir.errors import CnnirError, ShapeError
from cnnir.frontends.dsl.arguments import check_name, number
from cnnir.frontends.dsl.init import Fan, Initializer, lazy_parameter
from cnnir.frontends.dsl.place import user_loc
from cnnir.frontends.dsl.tensor import Tensor, not_a_tensor
from cnnir.ir import BATCH, ArrayData, DType, Loc, Node, Operator, TensorType, Value
from cnnir.ir.op import A
from cnnir.ir.registry import operator
from cnnir.ops.elementwise import BinaryAttrs
from cnnir.ops.shape import SLICE, SliceAttrs

if TYPE_CHECKING:
    from cnnir.frontends.dsl.layer import Layer

_CURRENT: ContextVar[Builder | None] = ContextVar("builder", default=None)


@dataclass
class Scope:
    """A named place for layers. A `shared` one is a second visit: its parameters must exist already."""

    path: str = ""
    shared: bool = False
    names: dict[str, Loc] = field(default_factory=dict)
    children: dict[str, Scope] = field(default_factory=dict)

    def join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def child(self, dotted: str) -> Scope:
        inner = self
        for part in dotted.split("."):
            inner = inner.children.setdefault(part, Scope(inner.join(part), inner.shared))
        return inner

    def claim(self, name: str, loc: Loc) -> None:
        """Takes a name, or says who has it."""
        first = self.names.setdefault(name, loc)
        if first is not loc:
            raise CnnirError(
                f"Two layers are called '{self.join(name)}'.",
                at=loc,
                notes=[f"The first is at {first}."],
                hints=["Name one of them otherwise, or use one layer object twice to share its weights."],
            )

    def claim_auto(self, kind: str, loc: Loc) -> str:
        """Takes the first free one of kind1, kind2, ..."""
        i = 1
        while f"{kind}{i}" in self.names:
            i += 1
        self.names[f"{kind}{i}"] = loc
        return f"{kind}{i}"


class Builder:
    """Collects the nodes of one network. Every symbolic tensor knows its builder."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes: list[Node] = []
        self.inputs: list[Value] = []
        self.parameters: dict[str, Value] = {}
        self._taken: set[str] = set()
        self._scope = Scope()
        self._bound: dict[Layer, Scope] = {}  # where a layer was first applied: its own scope
        self._within: list[tuple[str, Loc]] = []

    @staticmethod
    def current() -> Builder:
        """The builder of the architecture whose function is running."""
        builder = _CURRENT.get()
        if builder is None:
            raise CnnirError(
                "This works only while an architecture is being built.",
                at=user_loc(),
                hints=["Put it inside a function under '@architecture(...)'."],
            )
        return builder

    @contextmanager
    def active(self) -> Iterator[None]:
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    # -- names

    @contextmanager
    def scope(self, inner: Scope) -> Iterator[None]:
        outer, self._scope = self._scope, inner
        try:
            yield
        finally:
            self._scope = outer

    @contextmanager
    def named_scope(self, dotted: str) -> Iterator[None]:
        with self.scope(self._scope.child(dotted)):
            yield

    @contextmanager
    def within(self, what: str, loc: Loc) -> Iterator[None]:
        """Inside, errors say that they happened in that block."""
        self._within.append((what, loc))
        try:
            yield
        finally:
            self._within.pop()

    def unique(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... where a shared layer has been applied before."""
        free, i = name, 0
        while free in self._taken:
            i += 1
            free = f"{name}_{i}"
        self._taken.add(free)
        return free

    # -- building

    def input(self, name: str, shape: tuple[int, ...]) -> Tensor:
        value = Value(self.unique(name), TensorType(DType.F32, (BATCH, *shape)))
        self.inputs.append(value)
        return Tensor(self, value)

    def apply(self, layer: Layer, x: Tensor, default_name: str | None = None) -> Tensor:
        """Applies a layer; the first application gives it its name, every later one shares its parameters."""
        use = user_loc()
        if not isinstance(x, Tensor):
            raise not_a_tensor(x, f"as the input of '{type(layer).__name__}'")
        if x.builder is not self:
            raise CnnirError("This tensor belongs to another network.", at=use)
        own = self._bound.get(layer)
        if own is not None:
            return self._run(layer, Call(self, layer, Scope(own.path, shared=True), use), x)
        parent = self._scope
        name = layer.name if layer.name is not None else default_name
        if name is None:
            name = parent.claim_auto(layer.kind, layer.loc)
        else:
            head, _, leaf = name.rpartition(".")
            parent = parent.child(head) if head else parent
            parent.claim(leaf, layer.loc)
            name = leaf
        own = self._bound[layer] = parent.child(name)
        return self._run(layer, Call(self, layer, own, use), x)

    def _run(self, layer: Layer, call: Call, x: Tensor) -> Tensor:
        try:
            return layer.apply(call, x)
        except CnnirError as error:
            if error.at is None:
                error.at = str(layer.loc)
            raise

    def emit(
        self,
        op: Operator[A],
        attrs: A,
        inputs: Sequence[Value | None],
        *,
        name: str,
        loc: Loc,
        hints: Sequence[str] = (),
    ) -> Tensor:
        """Adds a node with one output. Types that do not fit are reported with the input's type and the hints."""
        return Tensor(self, self._node(op, attrs, inputs, name=name, loc=loc, hints=hints).output)

    def _node(
        self,
        op: Operator[A],
        attrs: A,
        inputs: Sequence[Value | None],
        *,
        name: str,
        loc: Loc,
        hints: Sequence[str] = (),
    ) -> Node:
        name = self.unique(name)
        try:
            node = Node(op, attrs, inputs, name=name, loc=loc)
        except ShapeError as error:
            raise self._explain(error, name, inputs, loc, hints) from None
        for value in node.outputs:
            if value.name != name:
                value.name = self.unique(value.name)
        self.nodes.append(node)
        return node

    def _explain(
        self, error: ShapeError, name: str, inputs: Sequence[Value | None], loc: Loc, hints: Sequence[str]
    ) -> ShapeError:
        read = [v for v in inputs if v is not None and not v.is_constant]
        types = ", ".join(f"'{v.name}' {v.type}" for v in read)
        notes = [*error.notes, f"'{name}' reads {types}."]
        notes += [f"In '{what}' at {at}." for what, at in reversed(self._within) if at != loc]
        return ShapeError(error.message, at=error.at or loc, notes=notes, hints=[*error.hints, *hints])

    def function(self, kind: str, op: Operator[A], attrs: A, inputs: Sequence[Tensor]) -> Tensor:
        """Applies an operator that is no layer: it has no parameters and is named after its kind."""
        (x,) = self.functions(kind, op, attrs, inputs)
        return x

    def functions(self, kind: str, op: Operator[A], attrs: A, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The same for an operator with any number of outputs: all of them."""
        loc = user_loc()
        for x in inputs:
            if not isinstance(x, Tensor):
                raise not_a_tensor(x, f"as an input of '{kind}'")
            if x.builder is not self:
                raise CnnirError("This tensor belongs to another network.", at=loc)
        name = self._scope.join(self._scope.claim_auto(kind, loc))
        node = self._node(op, attrs, [x.value for x in inputs], name=name, loc=loc)
        return tuple(Tensor(self, value) for value in node.outputs)

    def arithmetic(self, op_name: str, a: Tensor, b: Tensor | float, *, broadcast: bool = False) -> Tensor:
        """`a op b` for two tensors, or a tensor and a number."""
        kind, loc = op_name.lower(), user_loc()
        if not isinstance(b, Tensor):
            if not isinstance(b, (int, float)):
                raise not_a_tensor(b, f"or a number as the second operand of '{kind}'")
            literal = np.asarray(number(b, "operand", loc), np.float32)
            name = self._scope.join(self._scope.claim_auto(kind, loc))
            value = Value.constant(self.unique(f"{name}.literal"), ArrayData(literal))
            return self.emit(operator(op_name), BinaryAttrs(), [a.value, value], name=name, loc=loc)
        strict = op_name in ("Add", "Sub") and not broadcast
        if strict and a.shape != b.shape:
            raise CnnirError(
                f"Expected two tensors of the same shape for '{kind}', got {a.value.type} and {b.value.type}.",
                at=loc,
                notes=[f"They are '{a.value.name}' and '{b.value.name}'."]
                + [f"In '{what}' at {at}." for what, at in reversed(self._within) if at != loc],
                hints=[_match_hint(a.shape, b.shape)],
            )
        return self.function(kind, operator(op_name), BinaryAttrs(), [a, b])

    def slice(self, x: Tensor, key: tuple[slice | EllipsisType, ...]) -> Tensor:
        """`x[key]` for slices with positive steps; the batch axis must be taken whole."""
        loc = user_loc()
        if key.count(...) == 1:
            i = key.index(...)
            key = (*key[:i], *[slice(None)] * (len(x.shape) - len(key) + 1), *key[i + 1 :])
        if len(key) > len(x.shape) or not all(isinstance(k, slice) for k in key):
            raise CnnirError(
                f"Expected at most {len(x.shape)} slices for {x.value.type}, got {key!r}.",
                at=loc,
                hints=["Write 'x[:, 0:3]' for channels 0, 1 and 2; a single channel is 'x[:, 0:1]'."],
            )
        bounds: list[tuple[int, int, int, int]] = []
        for axis, part in enumerate(key):
            if not isinstance(part, slice) or part == slice(None):
                continue
            if axis == 0:
                raise CnnirError("The batch axis cannot be sliced.", at=loc)
            start, stop, step = part.indices(x.shape[axis])
            if step < 1 or start >= stop:
                raise CnnirError(f"The slice of axis {axis} takes nothing from {x.value.type}.", at=loc)
            bounds.append((axis, start, stop, step))
        if not bounds:
            return x
        axes, starts, ends, steps = (tuple(column) for column in zip(*bounds, strict=True))
        return self.function("slice", SLICE, SliceAttrs(axes, starts, ends, steps), [x])


@dataclass(frozen=True)
class Call:
    """One application of a layer: what `Layer.apply` uses to ask for parameters and to add nodes."""

    builder: Builder
    layer: Layer
    scope: Scope
    use: Loc

    @property
    def path(self) -> str:
        """The layer's full name."""
        return self.scope.path

    def parameter(self, leaf: str, shape: tuple[int, ...], init: Initializer, fan: Fan | None = None) -> Value:
        """The constant `path.leaf`: new at the first application of a layer, the same one at later ones."""
        name = self.scope.join(leaf)
        known = self.builder.parameters.get(name)
        if known is not None and self.scope.shared:
            if known.type.shape != shape:
                raise CnnirError(
                    f"'{name}' is shared: expected shape {list(known.type.shape)}, got {list(shape)}.",
                    at=self.use,
                    notes=[f"The layer was written at {self.layer.loc} and has been used before."],
                    hints=["Give both uses inputs with as many channels, or write two layers."],
                )
            return known
        if self.builder.unique(name) != name:
            raise CnnirError(f"Two values are called '{name}'.", at=self.layer.loc)
        data = lazy_parameter(self.builder.seed, name, shape, init, fan or Fan(1, 1))
        value = self.builder.parameters[name] = Value.constant(name, data)
        return value

    def emit(
        self,
        op: Operator[A],
        attrs: A,
        *inputs: Tensor | Value | None,
        suffix: str = "",
        hints: Sequence[str] = (),
    ) -> Tensor:
        """Adds a node called after the layer (and `suffix`, for layers of several nodes)."""
        values = [x.value if isinstance(x, Tensor) else x for x in inputs]
        if not op.ports[-1].variadic:
            values += [None] * (len(op.ports) - len(values))
        name = self.scope.join(suffix) if suffix else self.path
        return self.builder.emit(op, attrs, values, name=name, loc=self.layer.loc, hints=hints)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Inside, layers are named `name.layer`; scopes nest, and may be entered again."""
    check_name(name, user_loc())
    with Builder.current().named_scope(name):
        yield


def _match_hint(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    if len(a) == len(b) == 4:
        if a[2:] == b[2:]:
            return "Bring one to the other's channels with a 1x1 convolution."
        if a[1] == b[1]:
            return "Bring one to the other's height and width: look at strides and paddings."
        return "Bring one to the other's channels and size with a strided 1x1 convolution."
    return "Look at the layers that lead to each."
