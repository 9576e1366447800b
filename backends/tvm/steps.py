"""What lowering produces: kernel calls on buffers, and values that are views of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.kernel import Kernel
from cnnir.ir import Node, Value

Operand = Value | NDArray[np.float32]
"""What a kernel's pointer points to: an activation, or packed constants."""


@dataclass(frozen=True)
class Step:
    """One call of a kernel: an operand for each of its pointers, and the node that asked for it."""

    kernel: Kernel
    operands: tuple[Operand, ...]
    node: Node

    def __post_init__(self) -> None:
        arguments = self.kernel.arguments
        if len(arguments) != len(self.operands):
            raise ValueError(f"{self.node}: {len(arguments)} pointers, {len(self.operands)} operands")
        for argument, operand in zip(arguments, self.operands, strict=True):
            size = elements(operand) if isinstance(operand, Value) else operand.size
            if size != argument.size:
                raise ValueError(f"{self.node}: '{argument.name}' has {argument.size} elements, got {size}")
            if argument.written and not isinstance(operand, Value):
                raise ValueError(f"{self.node}: writes to the constant '{argument.name}'")

    @property
    def reads(self) -> tuple[Value, ...]:
        return tuple(v for v in self._values(written=False))

    @property
    def writes(self) -> tuple[Value, ...]:
        return tuple(v for v in self._values(written=True))

    def _values(self, *, written: bool) -> list[Value]:
        return [
            operand
            for argument, operand in zip(self.kernel.arguments, self.operands, strict=True)
            if isinstance(operand, Value) and argument.written == written
        ]


@dataclass(frozen=True)
class View:
    """A value whose elements in memory are exactly those of another: no code, the same buffer."""

    value: Value
    base: Value


Lowered = Step | View


def elements(value: Value) -> int:
    """Elements of the value in memory, halo and channel padding included."""
    return int(np.prod(value.type.physical_shape, dtype=np.int64))
