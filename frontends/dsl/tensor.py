"""Symbolic tensors: what an architecture's function receives, pipes through layers and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import EllipsisType
from typing import TYPE_CHECKING

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.place import user_loc
from cnnir.ir import Value

if TYPE_CHECKING:
    from cnnir.frontends.dsl.builder import Builder


class Pipe(ABC):
    """What may stand on the right of `>>`: a layer or a chain of layers."""

    @abstractmethod
    def __call__(self, x: Tensor, /) -> Tensor: ...


class Tensor:
    """A tensor of the network being described: a shape, and the operations that give new tensors.

    `x >> layer` applies a layer. `+`, `-` take tensors of equal shape; `*`, `/` broadcast as NumPy does; the
    right operand may be a number. `x[:, 0:3]` and `x[:, :, ::2, ::2]` slice every axis but the batch.
    """

    __slots__ = ("builder", "value")

    def __init__(self, builder: Builder, value: Value) -> None:
        self.builder = builder
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        """All dimensions; the batch is `cnnir.ir.BATCH` (-1)."""
        return self.value.type.shape

    @property
    def channels(self) -> int:
        """The size of axis 1."""
        return self.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; the tensor must be an image."""
        if len(self.shape) != 4:
            raise CnnirError(f"Expected an image (N, C, H, W), got {self.value.type}.", at=user_loc())
        return self.shape[2], self.shape[3]

    def __rshift__(self, layer: Pipe) -> Tensor:
        if not isinstance(layer, Pipe):
            raise not_a_layer(layer, "on the right of '>>'")
        return layer(self)

    def __add__(self, other: Tensor | float) -> Tensor:
        return self.builder.arithmetic("Add", self, other)

    def __sub__(self, other: Tensor | float) -> Tensor:
        return self.builder.arithmetic("Sub", self, other)

    def __mul__(self, other: Tensor | float) -> Tensor:
        return self.builder.arithmetic("Mul", self, other)

    def __truediv__(self, other: Tensor | float) -> Tensor:
        return self.builder.arithmetic("Div", self, other)

    def __radd__(self, other: float) -> Tensor:
        return self + other

    def __rmul__(self, other: float) -> Tensor:
        return self * other

    def __getitem__(self, key: slice | EllipsisType | tuple[slice | EllipsisType, ...]) -> Tensor:
        return self.builder.slice(self, key if isinstance(key, tuple) else (key,))

    def __bool__(self) -> bool:
        raise CnnirError(
            "A tensor has no elements while the network is being described, so it cannot decide an 'if'.",
            at=user_loc(),
            hints=["Decide by its shape ('x.channels', 'x.size') or by an option of the architecture."],
        )

    def __iter__(self) -> None:
        raise CnnirError("A tensor cannot be iterated over.", at=user_loc(), hints=["Slice it: 'x[:, 0:3]'."])

    def __repr__(self) -> str:
        return f"Tensor({self.value.type})"


def not_a_layer(got: object, where: str) -> CnnirError:
    """The mistake of giving something else where a layer is needed."""
    name = getattr(got, "__name__", None)
    if callable(got) and name is not None:
        got_text, hints = f"'{name}'", [f"Write '{name}(...)': a layer with its arguments."]
    else:
        got_text, hints = repr(got), []
    return CnnirError(f"Expected a layer {where}, got {got_text}.", at=user_loc(), hints=hints)


def not_a_tensor(got: object, where: str) -> CnnirError:
    """The mistake of giving something else where a tensor is needed."""
    hints = ["Pipe a tensor through it first: 'x >> layer'."] if isinstance(got, Pipe) else []
    return CnnirError(f"Expected a tensor {where}, got {got!r}.", at=user_loc(), hints=hints)
