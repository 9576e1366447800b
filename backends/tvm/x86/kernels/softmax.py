"""Softmax along one axis of a plain array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnir.backends.tvm.activation import statements
from cnnir.backends.tvm.kernel import Argument, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import DType
from cnnir.ops.activation import Activation, ActivationKind


@dataclass(frozen=True)
class Softmax(Kernel):
    """ONNX `Softmax` (opset 13 on) of a plain array along `axis`; the maximum is subtracted first.

    Along the last axis, vectors run along it; along another, across neighbouring rows. Work units: rows along
    the axis, or groups of `lanes` of them.
    """

    template: ClassVar[str] = "x86/templates/softmax.py.j2"

    shape: tuple[int, ...]
    axis: int
    isa: Isa

    def __post_init__(self) -> None:
        if not -len(self.shape) <= self.axis < len(self.shape):
            raise ValueError(f"no axis {self.axis} in {self.shape}")

    @property
    def _parts(self) -> tuple[int, int, int]:
        """Elements before, along and behind the axis."""
        axis = self.axis % len(self.shape)
        return math.prod(self.shape[:axis]), self.shape[axis], math.prod(self.shape[axis + 1 :])

    @property
    def _groups(self) -> int:
        return -(-self._parts[2] // self.isa.lanes)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        size = math.prod(self.shape)
        return (Argument("x", DType.F32, size), Argument("y", DType.F32, size, written=True))

    @property
    def units(self) -> int:
        return self._parts[0] * self._groups

    @property
    def flops(self) -> int:
        return 5 * math.prod(self.shape)

    def context(self) -> dict[str, Any]:
        v = Vector(self.isa.lanes)
        _, length, inner = self._parts
        lines, value = statements(Activation(ActivationKind.EXP), "shifted", v.lanes, "e")
        return {"v": v, "length": length, "inner": inner, "groups": self._groups, "lines": lines, "value": value}
