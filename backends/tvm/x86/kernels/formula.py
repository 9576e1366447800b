"""Element-wise formulas of up to three operands, as TVMScript: what the element-wise kernels apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cnnir.backends.tvm.activation import statements
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ops.activation import Activation


class Combine(StrEnum):
    """How operands become one value; ONNX operator in brackets."""

    IDENTITY = "identity"  # x: the activation alone
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MAX = "max"
    MIN = "min"
    POW = "pow"
    AFFINE = "affine"  # x * scale + shift [BatchNormalization]
    PRELU = "prelu"  # x, slope
    QUANTIZE = "quantize"  # x, scale, zero point [QuantizeLinear]
    DEQUANTIZE = "dequantize"  # x, scale, zero point [DequantizeLinear]


_OPERANDS = {
    Combine.IDENTITY: 1,
    Combine.AFFINE: 3,
    Combine.QUANTIZE: 3,
    Combine.DEQUANTIZE: 3,
}

_ZERO_FROM_ZEROS = {
    Combine.IDENTITY,
    Combine.ADD,
    Combine.SUB,
    Combine.MUL,
    Combine.MAX,
    Combine.MIN,
    Combine.AFFINE,
    Combine.PRELU,
}


@dataclass(frozen=True)
class Formula:
    """`activation(combine(operands))`. `bounds` are the least and greatest quantised value.

    Quantised integers are float32 values here; quantisation rounds halves to even.
    """

    combine: Combine
    activation: Activation | None = None
    bounds: tuple[int, int] = (0, 255)

    @property
    def operands(self) -> int:
        return _OPERANDS.get(self.combine, 2)

    @property
    def keeps_zero(self) -> bool:
        """Whether zero operands give zero, so that padded channels stay zero."""
        return self.combine in _ZERO_FROM_ZEROS and (self.activation is None or self.activation.keeps_zero)

    def write(self, operands: Sequence[str], v: Vector) -> tuple[list[str], str]:
        """The lines that bind operands and intermediate results to names, and the final expression."""
        lines = [f"in{i}: T.let = {operand}" for i, operand in enumerate(operands)]
        value = self._combined([f"in{i}" for i in range(len(operands))], v)
        if self.activation is None:
            return lines, value
        more, result = statements(self.activation, value, v.lanes, "act")
        return lines + more, result

    def _combined(self, operands: Sequence[str], v: Vector) -> str:
        x, a, b = (*operands, "", "")[:3]
        low, high = (v.number(bound) for bound in self.bounds)
        return {
            Combine.IDENTITY: x,
            Combine.ADD: f"{x} + {a}",
            Combine.SUB: f"{x} - {a}",
            Combine.MUL: f"{x} * {a}",
            Combine.DIV: f"{x} / {a}",
            Combine.MAX: v.maximum(a, x),
            Combine.MIN: v.minimum(a, x),
            Combine.POW: f"T.pow({x}, {a})",
            Combine.AFFINE: f"{x} * {a} + {b}",
            Combine.PRELU: v.select(f"{x} < {v.zero}", f"{x} * {a}", x),
            Combine.QUANTIZE: f"T.min(T.max(T.nearbyint({x} / {a}) + {b}, {low}), {high})",
            Combine.DEQUANTIZE: f"({x} - {b}) * {a}",
        }[self.combine]
