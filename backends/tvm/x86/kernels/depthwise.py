"""Depthwise convolution in float32 over channel-blocked images: each channel has a filter of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.activation import is_cheap
from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.epilogue import (
    Statements,
    activated,
    borders,
    check_residual,
    check_window_fits,
    needs_mask,
    typed,
)
from cnnir.backends.tvm.x86.kernels.split import Split, decode
from cnnir.ir import DType
from cnnir.ops.activation import Activation
from cnnir.ops.spatial import NO_PADS, Pads, Pair

_MOST_UNROLLED_TAPS = 9
_MOST_UNROLLED_COLUMNS = 7
_PIXELS_A_UNIT = 128


@dataclass(frozen=True)
class DepthwiseKernel(Kernel):
    """`activation(conv(x, weight) + bias + residual)` with as many groups as input channels and as filters.

    Pointers: `x`, `weight`, `bias` (if `bias`), `residual` (if given), `y`; weight and bias as `pack` makes them.
    Input and output have the same channel block, the vector width. `pads` must lie within the input's halo, which
    holds zeros. The halo of the output and its channels past the last are written as zeros. `width` pixels of a
    row are accumulated in registers at a time; a work unit is up to `rows` rows.

    Raises `ValueError` for sizes that do not fit together: a bug of the lowering, never of the user.
    """

    template: ClassVar[str] = "x86/templates/depthwise.py.j2"

    input: ImageBuffer
    output: ImageBuffer
    kernel_size: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pads: Pads = NO_PADS
    bias: bool = False
    residual: ImageBuffer | None = None
    activation: Activation | None = None
    width: int = 1
    rows: int = 1

    def __post_init__(self) -> None:
        check_window_fits(self.input, self.output, self.kernel_size, self.stride, self.dilation, self.pads)
        check_residual(self.output, self.residual)
        x, y = self.input, self.output
        if (x.channels, x.block) != (y.channels, y.block):
            raise ValueError(f"depthwise from {x.channels} channels by {x.block} to {y.channels} by {y.block}")
        if min(self.width, self.rows) < 1:
            raise ValueError(f"impossible tile of {self.rows} rows by {self.width} pixels")

    @property
    def _row_split(self) -> Split:
        return Split(self.output.height, self.rows)

    def _axes(self) -> list[tuple[str, int]]:
        return [("image", self.output.batch), ("block", self.output.blocks), ("row", self._row_split.count)]

    @property
    def units(self) -> int:
        return math.prod(extent for _, extent in self._axes())

    @property
    def flops(self) -> int:
        y = self.output
        return 2 * y.batch * y.channels * y.height * y.width * math.prod(self.kernel_size)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        channels = self.output.blocks * self.output.block
        arguments = [
            Argument("x", DType.F32, self.input.size),
            Argument("weight", DType.F32, channels * math.prod(self.kernel_size)),
        ]
        if self.bias:
            arguments.append(Argument("bias", DType.F32, channels))
        if self.residual is not None:
            arguments.append(Argument("residual", DType.F32, self.residual.size))
        return (*arguments, Argument("y", DType.F32, self.output.size, written=True))

    def pack(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], ...]:
        """The constants in the order of the kernel: weight `[C, 1, KH, KW]`, then bias `[C]` if it has one.

        The packed weight is `[block, KH, KW, channel]`.
        """
        y = self.output
        padding = y.blocks * y.block - y.channels
        padded = np.pad(weight.astype(np.float32, copy=False)[:, 0], ((0, padding), (0, 0), (0, 0)))
        packed = np.ascontiguousarray(padded.reshape(y.blocks, y.block, *self.kernel_size).transpose(0, 2, 3, 1))
        if not self.bias:
            return (packed,)
        if bias is None:
            raise ValueError("the kernel adds a bias, got none")
        return packed, np.pad(bias.astype(np.float32, copy=False), (0, padding))

    def context(self) -> dict[str, Any]:
        x, y, lanes = self.input, self.output, self.output.block
        (kh, kw), (sh, sw), (dh, dw) = self.kernel_size, self.stride, self.dilation
        coordinates = [
            *decode("lo + u", self._axes()),
            ("column", "0"),
            ("h0", self._row_split.start("row")),
            (
                "x0",
                f"image * {x.image_stride} + block * {x.plane_stride} + h0 * {sh * x.row_stride}"
                f" + {x.origin - self.pads[0] * x.row_stride - self.pads[1] * lanes}",
            ),
            ("y_plane", f"image * {y.image_stride} + block * {y.plane_stride}"),
            ("y0", f"y_plane + h0 * {y.row_stride} + {y.origin}"),
        ]
        result = "v"
        if self.residual is not None:
            r = self.residual
            r0 = f"image * {r.image_stride} + block * {r.plane_stride} + h0 * {r.row_stride} + {r.origin}"
            coordinates.append(("r0", r0))
            result = f"v + residual[T.ramp(r0 + t * {r.row_stride} + w * {lanes}, 1, {lanes})]"
        y_index = f"y0 + t * {y.row_stride} + w * {lanes}"
        late = None
        epilogue = Statements([], result)
        masks = needs_mask(self.activation, y)
        if is_cheap(self.activation) and not masks:
            epilogue = activated(self.activation, result, lanes, "e")
        else:
            channels = (f"block * {lanes}", y.channels) if masks else None
            late = activated(self.activation, f"y[T.ramp({y_index}, 1, {lanes})]", lanes, "e", channels)
        columns = Split(y.width, self.width)
        rows = self._row_split.length("row")
        return {
            "lanes": lanes,
            "kernel_size": self.kernel_size,
            "coordinates": typed(coordinates),
            "rows": rows,
            "runs": [
                {"width": width, "count": count, "first": first}
                for width, count, first in (
                    (columns.size + 1, columns.big, 0),
                    (columns.size, columns.count - columns.big, columns.big * (columns.size + 1)),
                )
                if count
            ],
            # Unrolled taps let neighbouring pixels share their loads.
            "loops": (
                "unroll" if kh * kw <= _MOST_UNROLLED_TAPS else "serial",
                "unroll" if kw <= _MOST_UNROLLED_COLUMNS else "serial",
            ),
            "initial": f"bias[T.ramp(block * {lanes}, 1, {lanes})]"
            if self.bias
            else f"T.broadcast(T.float32(0), {lanes})",
            "x_index": f"x0 + t * {sh * x.row_stride} + kh * {dh * x.row_stride} + kw * {dw * lanes}",
            "x_step": sw * lanes,
            "weight_index": f"((block * {kh} + kh) * {kw} + kw) * {lanes}",
            "y_index": y_index,
            "epilogue": epilogue,
            "late": late,
            "borders": borders(y, rows, self._row_split.count, 1),
        }


def choose_depthwise(kernel: DepthwiseKernel, isa: Isa) -> DepthwiseKernel:
    """The same convolution with a tile that fits the registers: accumulators, the pixels of a row, a weight."""
    width = min(kernel.output.width, (isa.registers - 4) // 2)
    rows = max(1, min(kernel.output.height, _PIXELS_A_UNIT // kernel.output.width))
    return replace(kernel, width=width, rows=rows)
