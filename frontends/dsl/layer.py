"""Layers and what is made of them: chains, stacks, blocks, repetition."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import check_name, integer
from cnnir.frontends.dsl.builder import Call
from cnnir.frontends.dsl.place import function_loc, own_lines, user_loc
from cnnir.frontends.dsl.tensor import Pipe, Tensor, not_a_layer, not_a_tensor
from cnnir.ir import Loc

P = ParamSpec("P")
L = TypeVar("L", bound=Pipe)


@dataclass(frozen=True, eq=False)
class Layer(Pipe):
    """A layer as a value. It gets its full name where it is first applied; applied again, it shares its weights.

    Subclasses are frozen dataclasses with `eq=False` whose fields are the layer's arguments. They implement
    `apply`, and `check` where arguments can be wrong. `name` is the last part of the parameters' names
    (`conv1` in `layer1.0.conv1.weight`); without it a layer takes its number in a stack, or else its kind and
    the next free number (`conv1`, `conv2`, ...).
    """

    name: str | None = field(default=None, kw_only=True)
    loc: Loc = field(init=False, repr=False, default_factory=user_loc)

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name, self.loc)
        self.check()

    def check(self) -> None:
        """Raises `CnnirError` at `self.loc` for arguments that no input could make sense of."""

    @property
    def kind(self) -> str:
        """What unnamed layers are called, before the number."""
        return type(self).__name__.lower()

    @abstractmethod
    def apply(self, call: Call, x: Tensor) -> Tensor:
        """Adds the layer's nodes and gives their output."""

    def named(self, name: str) -> Self:
        """The same layer under that name."""
        copy = replace(self, name=name)
        object.__setattr__(copy, "loc", self.loc)
        return copy

    def __call__(self, x: Tensor, /) -> Tensor:
        if not isinstance(x, Tensor):
            raise not_a_tensor(x, f"as the input of '{type(self).__name__}'")
        return x.builder.apply(self, x)

    def __rshift__(self, after: Pipe) -> Chain:
        return Chain(self, after)


class Chain(Pipe):
    """Layers one after the other, without a name of their own: `Conv(64, 3) >> ReLU()`."""

    def __init__(self, *items: Pipe) -> None:
        self.layers: tuple[Layer, ...] = _flatten(items, "in a chain")

    def __call__(self, x: Tensor, /) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def __rshift__(self, after: Pipe) -> Chain:
        return Chain(self, after)


class Stack(Layer):
    """Layers one after the other in a scope of their own, numbered from 0: PyTorch's `Sequential`.

    `Stack("features", Conv(64, 11), ReLU(), ...)` names the parameters `features.0.weight` and so on. A layer
    with a name keeps it (and still counts); the layers of a chain count one by one.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *items: str | Pipe) -> None:
        name = items[0] if items and isinstance(items[0], str) else None
        loc = user_loc()
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "loc", loc)
        parts = items[1:] if name is not None else items
        object.__setattr__(self, "layers", _flatten(parts, "in a stack"))
        self.__post_init__()

    def named(self, name: str) -> Self:
        copy = type(self)(name, *self.layers)
        object.__setattr__(copy, "loc", self.loc)
        return copy

    def apply(self, call: Call, x: Tensor) -> Tensor:
        with call.builder.scope(call.scope):
            for i, layer in enumerate(self.layers):
                x = call.builder.apply(layer, x, default_name=str(i))
        return x


@dataclass(frozen=True, eq=False)
class Block(Layer):
    """A layer whose meaning is a function of a tensor: see `block`."""

    function: Callable[..., Tensor]
    args: tuple[object, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.function.__name__

    def check(self) -> None:
        try:
            inspect.signature(self.function).bind(None, *self.args, **self.options)
        except TypeError as error:
            raise CnnirError(
                f"Block '{self.kind}' does not fit its arguments: {error}.",
                at=self.loc,
                notes=[f"It is defined at {function_loc(self.function)}."],
            ) from None

    def apply(self, call: Call, x: Tensor) -> Tensor:
        builder = call.builder
        with builder.scope(call.scope), builder.within(call.path, self.loc), own_lines():
            y = self.function(x, *self.args, **self.options)
        if not isinstance(y, Tensor):
            hint = "Add 'return x'." if y is None else "A block is a function from one tensor to one tensor."
            raise CnnirError(
                f"Block '{self.kind}' returned {'nothing' if y is None else repr(y)}, expected a tensor.",
                at=function_loc(self.function),
                hints=[hint],
            )
        return y


def block(function: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[P, Block]:
    """Makes a function a layer with a scope of its own.

    `@block def bottleneck(x, width, stride=1): ...` lets one write `x >> bottleneck(64, stride=2)`, or use
    `bottleneck(64)` in a stack; layers in the body are named below the block's name.
    """

    @wraps(function)
    def make(*args: P.args, **options: P.kwargs) -> Block:
        name = function.__name__
        if args and isinstance(args[0], Tensor):
            raise CnnirError(
                f"Block '{name}' is applied with '>>'.", at=user_loc(), hints=[f"Write 'x >> {name}(...)'."]
            )
        return Block(function, args, options)

    return make


def repeat(times: int, layer: Callable[P, L], *args: P.args, **kwargs: P.kwargs) -> Chain:
    """A chain of `times` layers `layer(*args, **kwargs)`, each with weights of its own (possibly none at all)."""
    loc = user_loc()
    count = integer(times, "times", loc, minimum=0)
    if not callable(layer) or isinstance(layer, Pipe):
        raise CnnirError(
            "Expected a layer's class or a block's function to repeat, got a layer.",
            at=loc,
            hints=["Write 'repeat(3, Conv, 64, 3)': one layer repeated would share its weights."],
        )
    return Chain(*(layer(*args, **kwargs) for _ in range(count)))


def _flatten(items: tuple[object, ...], where: str) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for item in items:
        if isinstance(item, Chain):
            layers += item.layers
        elif isinstance(item, Layer):
            layers.append(item)
        else:
            raise not_a_layer(item, where)
    return tuple(layers)
