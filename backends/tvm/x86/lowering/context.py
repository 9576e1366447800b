"""What a lowering is: the layout an operator works in, and the function that turns a node into kernel calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.steps import Lowered
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.errors import CnnirError
from cnnir.ir import Node, Value


class LayoutRule(Enum):
    """In which order an operator works."""

    PLAIN = "plain"
    """Row-major order, any rank."""
    BLOCKED = "blocked"
    """Channel blocks, whatever its inputs come in."""
    FOLLOW = "follow"
    """Channel blocks if one of its inputs has them, else plain."""


@dataclass(frozen=True)
class Context:
    """What a lowering may ask for: the instruction set and the node; helpers for its operands."""

    isa: Isa
    node: Node

    @property
    def is_plain(self) -> bool:
        """Whether the node writes row-major order."""
        return self.output.type.layout.is_plain

    def operand(self, port: int) -> Value:
        """The activation at a port."""
        value = self.node.inputs[port]
        if value is None or value.is_constant:
            raise unsupported(self.node, f"its input {port} is a constant")
        return value

    def image(self, port: int) -> ImageBuffer:
        return ImageBuffer.of(self.operand(port).type)

    def constant(self, port: int) -> NDArray[np.float32]:
        """The elements of a constant operand as float32."""
        value = self.node.inputs[port]
        if value is None or value.data is None:
            raise unsupported(self.node, f"its input {port} is not a constant")
        return np.asarray(value.data.numpy(), np.float32)

    @property
    def output(self) -> Value:
        return self.node.output

    @property
    def output_image(self) -> ImageBuffer:
        return ImageBuffer.of(self.node.output.type)


Lower = Callable[[Context], Sequence[Lowered]]
Rule = Callable[[Node], LayoutRule]


@dataclass(frozen=True)
class Support:
    """What the backend has for one operator."""

    rule: Rule
    lower: Lower


def always(rule: LayoutRule) -> Rule:
    """The same layout rule for every node of the operator."""
    return lambda node: rule


def unsupported(node: Node, why: str) -> CnnirError:
    """The error for a node that this backend cannot compile."""
    return CnnirError(
        f"The x86 backend cannot compile '{node.op.name}' node '{node.name}': {why}.",
        at=node.loc,
        hints=["Target 'onnx' may be able to: `--target onnx`."],
    )
