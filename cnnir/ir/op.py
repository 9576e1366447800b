"""What an operator is: one class with its ports, attributes, types, meaning, cost and samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from cnnir.ir.types import Array, TensorType

if TYPE_CHECKING:
    from cnnir.ir.graph import Node


@dataclass(frozen=True)
class Attrs:
    """Base of every operator's attribute record: frozen, validated in `__post_init__`, printed by the text form."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input of an operator.

    `parameter` ports are learned (they count as parameters of the network); `optional` ports may be `None`;
    a `variadic` port is the last one and takes one or more values.
    """

    name: str
    optional: bool = False
    variadic: bool = False
    parameter: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Arithmetic of one node: multiply-accumulates of its products, and floating point operations in all.

    A multiply-accumulate is two FLOPs; comparisons, additions, divisions and transcendental functions count one.
    """

    macs: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.flops + other.flops)


@dataclass(frozen=True, slots=True)
class Window:
    """The spatial window that one output pixel sees (height, width each): for receptive-field arithmetic.

    With an `upsample` above 1 the roles are turned: the window is what one input pixel reaches, `upsample` output
    pixels further on for the next one (a transposed convolution).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    upsample: tuple[int, int] = (1, 1)


A = TypeVar("A", bound=Attrs)


@dataclass(frozen=True, slots=True)
class Sample(Generic[A]):
    """A small random case of an operator: attributes, and one array a port (`None` where left out)."""

    attrs: A
    inputs: tuple[Array | None, ...]


class Operator(Generic[A]):
    """An operator, defined in one place. Names and semantics follow ONNX where ONNX has the operator.

    Subclasses set `name`, `ports` and `attrs_type`, and implement `infer` and `reference`.
    Instances are stateless; `cnnir.ir.registry` holds one of each.
    """

    name: ClassVar[str]
    ports: ClassVar[tuple[Port, ...]]
    attrs_type: type[A]

    def infer(self, attrs: A, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        """Output types (plain layout) from input types; `ShapeError` where they do not fit."""
        raise NotImplementedError

    def reference(self, attrs: A, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        """The meaning of the operator, in the precision of its inputs (the oracle passes float64)."""
        raise NotImplementedError

    def cost(self, attrs: A, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        """Arithmetic at static types; data movement costs nothing here (see `cnnir.analysis`)."""
        return Cost()

    def window(self, attrs: A, inputs: Sequence[TensorType | None]) -> Window | None:
        """The window one output pixel sees in the first input; `None` when it sees a single pixel."""
        return None

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[A]]:
        """Small random cases covering the attribute space: they drive the tests of every backend."""
        raise NotImplementedError

    def of(self, node: Node) -> A | None:
        """The attributes of `node` if it is an instance of this operator, else `None`."""
        if node.op is self:
            assert isinstance(node.attrs, self.attrs_type)
            return node.attrs
        return None

    def __repr__(self) -> str:
        return self.name
