"""Fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.activation import statements
from cnnir.backends.tvm.kernel import Argument, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import Array, DType
from cnnir.ops.activation import Activation

_ENOUGH_PANELS = 16  # panels of outputs that up to eight threads share evenly
_LATENCY = 4  # chains of additions that hide the latency of one
_LINE = 16  # float32 values of a cache line
_PREFETCH_LINES = 32  # how far ahead of the streaming weights


@dataclass(frozen=True)
class Dense(Kernel):
    """ONNX `Gemm` with `transB=1`: `y = activation(x @ weight.T + bias)`, all plain.

    Shapes: x `[rows, inputs]`, y `[rows, outputs]`; weight and bias as `pack` gives them: panels of
    `vectors * lanes` outputs, each a contiguous stream over the inputs, the last padded with zeros.
    A work unit is one panel for one tile of rows: with one row the weights stream through once, with more each
    weight vector serves `row_tile` rows. Each sum is taken over the inputs in at most `chains` interleaved parts.
    """

    template: ClassVar[str] = "x86/templates/dense.py.j2"

    rows: int
    inputs: int
    outputs: int
    isa: Isa
    activation: Activation | None = None

    def __post_init__(self) -> None:
        if min(self.rows, self.inputs, self.outputs) < 1:
            raise ValueError(f"expected at least one row, input and output: {self}")

    @property
    def vectors(self) -> int:
        """Vectors of outputs in a panel: few registers with many rows, few panels with one."""
        most = 4 if self.rows == 1 or self.isa.registers > 16 else 2
        return max(1, min(most, -(-self.outputs // self.isa.lanes) // _ENOUGH_PANELS))

    @property
    def panel(self) -> int:
        """Outputs of a panel."""
        return self.vectors * self.isa.lanes

    @property
    def panels(self) -> int:
        return -(-self.outputs // self.panel)

    @property
    def row_tile(self) -> int:
        most = max(1, (self.isa.registers - 2 - self.vectors) // self.vectors)
        tiles = -(-self.rows // min(most, 8))
        return -(-self.rows // tiles)

    @property
    def row_tiles(self) -> int:
        return -(-self.rows // self.row_tile)

    @property
    def chains(self) -> int:
        """Accumulators of one output."""
        return max(1, _LATENCY // (self.vectors * self.row_tile))

    @property
    def arguments(self) -> tuple[Argument, ...]:
        padded = self.panels * self.panel
        return (
            Argument("x", DType.F32, self.rows * self.inputs),
            Argument("weight", DType.F32, padded * self.inputs),
            Argument("bias", DType.F32, padded),
            Argument("y", DType.F32, self.rows * self.outputs, written=True),
        )

    @property
    def units(self) -> int:
        return self.panels * self.row_tiles

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inputs * self.outputs

    def pack(self, weight: Array, bias: Array | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight `[outputs, inputs]` and bias `[outputs]` (zeros if left out) as the kernel reads them."""
        padded = self.panels * self.panel
        w = np.zeros((padded, self.inputs), np.float32)
        w[: self.outputs] = weight
        b = np.zeros(padded, np.float32)
        if bias is not None:
            b[: self.outputs] = bias
        panels = w.reshape(self.panels, self.panel, self.inputs).transpose(0, 2, 1)
        return np.ascontiguousarray(panels), b

    def context(self) -> dict[str, Any]:
        v = Vector(self.isa.lanes)
        total = v.at("acc", f"(r * {self.vectors} + o) * {v.lanes}")
        lines, value = (
            ([], total) if self.activation is None else statements(self.activation, total, v.lanes, "act")
        )
        return {
            "v": v,
            "k": self,
            "lines": lines,
            "value": value,
            "ahead": _PREFETCH_LINES * _LINE,
            "fetched": -(-self.panel // _LINE) if self.rows == 1 and self.inputs >= 64 else 0,
        }
