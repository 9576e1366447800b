"""Winograd convolution in float32: 3x3 with stride 1 as products in a transformed domain, tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.activation import is_cheap
from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.kernels.epilogue import (
    activated,
    borders,
    check_residual,
    check_window_fits,
    needs_mask,
    typed,
)
from cnnir.backends.tvm.x86.kernels.split import Split, decode
from cnnir.backends.tvm.x86.kernels.winograd_transform import Transform, input_code, output_code, transform
from cnnir.ir import DType
from cnnir.ops.activation import Activation
from cnnir.ops.spatial import NO_PADS, Pads

_INDEX_LIMIT = 2**31
_LINE = 16
"""Elements of a cache line."""


@dataclass(frozen=True, slots=True)
class WinogradTile:
    """How a Winograd convolution is cut: registers hold `oc_blocks * width` accumulators.

    A tile has `outputs` x `outputs` output pixels. A work unit is a block of up to `tiles` tiles by `chunk` channel
    blocks, `width` tiles (an upper limit) by `oc_blocks` channel blocks of it at a time.
    """

    outputs: int = 4
    tiles: int = 1
    chunk: int = 1
    oc_blocks: int = 1
    width: int = 1


@dataclass(frozen=True)
class WinogradKernel(Kernel):
    """`activation(conv(x, weight) + bias + residual)` for 3x3 filters, stride 1, no dilation, one group.

    Pointers and memory as those of `ConvKernel`; input and output have the same channel block, the vector width.
    Where tiles reach past the last padded row or column, that one is read again: the results are not used.

    Rounding: with A, G, B of `winograd_transform.transform`, n input channels and u = 2^-24, the error is at most
    k u / (1 - k u) times |A^T| (sum over channels of (|G| |w| |G^T|) * (|B^T| |d| |B|)) |A|, plus |bias| and
    |residual|: a term passes no more than `size` roundings in each of the four passes of its two transforms, one of
    its weight, and those of product, sum, bias and residual, k = 4 size + n + 3 (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1, stage by stage). An infinity or NaN in the input makes NaN of every output of
    the tiles that read it.

    Raises `ValueError` for sizes that do not fit together: a bug of the lowering, never of the user.
    """

    template: ClassVar[str] = "x86/templates/winograd.py.j2"

    input: ImageBuffer
    output: ImageBuffer
    pads: Pads = NO_PADS
    bias: bool = False
    residual: ImageBuffer | None = None
    activation: Activation | None = None
    tile: WinogradTile = field(default_factory=WinogradTile)

    def __post_init__(self) -> None:
        check_window_fits(self.input, self.output, (3, 3), (1, 1), (1, 1), self.pads)
        check_residual(self.output, self.residual)
        x, y, tile = self.input, self.output, self.tile
        if x.block != y.block:
            raise ValueError(f"blocks of {x.block} and of {y.block} channels")
        if min(tile.tiles, tile.chunk, tile.oc_blocks, tile.width) < 1 or tile.outputs not in (2, 4):
            raise ValueError(f"impossible tile {tile}")
        if tile.chunk > y.blocks or tile.chunk % tile.oc_blocks:
            raise ValueError(f"{tile} does not fit {y.blocks} channel blocks")
        if max(self.scratch, *(a.size for a in self.arguments)) >= _INDEX_LIMIT:
            raise ValueError("a buffer of 2^31 elements or more cannot be indexed")

    # -- geometry

    @property
    def transform(self) -> Transform:
        return transform(self.tile.outputs)

    @property
    def tile_rows(self) -> int:
        return -(-self.output.height // self.tile.outputs)

    @property
    def tile_columns(self) -> int:
        return -(-self.output.width // self.tile.outputs)

    @property
    def tile_split(self) -> Split:
        """All the tiles of the batch, cut into blocks."""
        return Split(self.output.batch * self.tile_rows * self.tile_columns, self.tile.tiles)

    @property
    def most_tiles(self) -> int:
        return self.tile_split.size + bool(self.tile_split.big)

    @property
    def group_split(self) -> Split:
        """The tiles of a block, cut into what the registers hold; the last group may overlap the one before."""
        return Split(self.most_tiles, self.tile.width)

    @property
    def group_width(self) -> int:
        return self.group_split.size + bool(self.group_split.big)

    @property
    def chunks(self) -> int:
        """Chunks of output channel blocks; the last one may overlap the one before."""
        return -(-self.output.blocks // self.tile.chunk)

    def _axes(self) -> list[tuple[str, int]]:
        return [("block", self.tile_split.count), ("chunk", self.chunks)]

    @property
    def units(self) -> int:
        return math.prod(extent for _, extent in self._axes())

    @property
    def flops(self) -> int:
        """Those of the sum that is computed, not of how."""
        y = self.output
        return 2 * y.batch * y.height * y.width * y.channels * self.input.channels * 9

    # -- operands

    @property
    def _strides(self) -> tuple[int, int]:
        """Elements between two positions of V and of M: an odd number of lines, so that caches spread them."""
        x, y = self.input, self.output
        sizes = (x.blocks * self.most_tiles * x.block, self.tile.chunk * self.most_tiles * y.block)
        v, m = (-(-size // _LINE) | 1 for size in sizes)
        return v * _LINE, m * _LINE

    @property
    def scratch(self) -> int:
        return self.transform.size**2 * sum(self._strides)

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        tile = self.tile
        panels = tile.chunk // tile.oc_blocks
        panel = tile.oc_blocks * self.output.block
        return (self.chunks, self.transform.size**2, panels, self.input.channels, panel)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        arguments = [
            Argument("x", DType.F32, self.input.size),
            Argument("weight", DType.F32, math.prod(self._weight_shape)),
        ]
        if self.bias:
            arguments.append(Argument("bias", DType.F32, self.output.blocks * self.output.block))
        if self.residual is not None:
            arguments.append(Argument("residual", DType.F32, self.residual.size))
        return (*arguments, Argument("y", DType.F32, self.output.size, written=True))

    def pack(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], ...]:
        """The constants in the order of the kernel: weight `[O, C, 3, 3]`, then bias `[O]` if it has one.

        The packed weight is `[chunk, position, panel, input channel, output channel]`, transformed in float64.
        """
        y, lanes = self.output, self.output.block
        chunks, positions, panels, channels, panel = self._weight_shape
        filters = self.transform.filters(weight.transpose(1, 0, 2, 3)).astype(np.float32)
        padded = np.zeros((positions, channels, y.blocks * lanes), np.float32)
        padded[:, :, : y.channels] = filters.reshape(channels, y.channels, positions).transpose(2, 0, 1)
        packed = np.empty(self._weight_shape, np.float32)
        for i in range(chunks):
            start = min(i * self.tile.chunk, y.blocks - self.tile.chunk) * lanes
            part = padded[:, :, start : start + panels * panel]
            packed[i] = part.reshape(positions, channels, panels, panel).transpose(0, 2, 1, 3)
        if not self.bias:
            return (packed,)
        if bias is None:
            raise ValueError("the kernel adds a bias, got none")
        return packed, np.pad(bias.astype(np.float32, copy=False), (0, y.blocks * lanes - bias.size))

    # -- template

    def _tile_coordinates(self) -> list[tuple[str, str]]:
        """Image, row and column of tile `t` of the block."""
        per_image = self.tile_rows * self.tile_columns
        return [
            ("n", f"(tile0 + t) // {per_image}"),
            ("row", f"(tile0 + t) % {per_image} // {self.tile_columns}"),
            ("column", f"(tile0 + t) % {self.tile_columns}"),
        ]

    def context(self) -> dict[str, Any]:
        x, y, tile, lanes = self.input, self.output, self.tile, self.output.block
        t, m = self.transform, self.tile.outputs
        names = [f"d{i}" for i in range(t.size)]
        input_lines, input_values = input_code(t, names, lanes, "p")
        output_lines, output_values = output_code(t, names, lanes, "p")
        _, positions, panels, channels, panel = self._weight_shape
        v_stride, m_stride = self._strides
        m_start = positions * v_stride
        split, groups = self.tile_split, self.group_split
        chunk0 = f"chunk * {tile.chunk}"
        if y.blocks % tile.chunk:
            chunk0 = f"T.min({chunk0}, {y.blocks - tile.chunk})"
        coordinates = [
            *decode("lo + u", self._axes()),
            ("tile0", split.start("block")),
            ("tiles", split.length("block")),
            ("chunk0", chunk0),
        ]

        def clamped(tile_index: str, offset: str, pad: int, size: int, padding_after: int) -> str:
            return f"T.min({tile_index} * {m} + {offset}, {size + pad + padding_after - 1})"

        top, left, bottom, right = self.pads
        input_coordinates = [
            *self._tile_coordinates(),
            (
                "x0",
                f"n * {x.image_stride} + ic * {x.plane_stride} + {x.origin - top * x.row_stride - left * lanes}",
            ),
            *(
                (f"h{i}", f"x0 + {clamped('row', str(i), top, x.height, bottom)} * {x.row_stride}")
                for i in range(t.size)
            ),
        ]
        w = clamped("column", "j", left, x.width, right)
        output_coordinates = [
            *self._tile_coordinates(),
            ("h0", f"row * {m}"),
            ("w0", f"column * {m}"),
            ("height", f"T.min({m}, {y.height} - h0)"),
            ("width", f"T.min({m}, {y.width} - w0)"),
            ("m0", f"{m_start} + (o * {self.most_tiles} + t) * {lanes}"),
            ("y_plane", f"n * {y.image_stride} + (chunk0 + o) * {y.plane_stride}"),
            ("y0", f"y_plane + h0 * {y.row_stride} + w0 * {lanes} + {y.origin}"),
        ]
        residual = ""
        if self.residual is not None:
            r = self.residual
            r0 = (
                f"n * {r.image_stride} + (chunk0 + o) * {r.plane_stride}"
                f" + h0 * {r.row_stride} + w0 * {lanes} + {r.origin}"
            )
            output_coordinates.append(("r0", r0))
            residual = f" + residual[T.ramp(r0 + i * {r.row_stride} + j * {lanes}, 1, {lanes})]"
        masks = needs_mask(self.activation, y)
        mask = (f"(chunk0 + o) * {lanes}", y.channels) if masks else None
        steps = [c for c in (lanes if channels >= lanes else 0, channels % lanes) if c]
        whole = y.height % m == 0 and y.width % m == 0
        return {
            "lanes": lanes,
            "size": t.size,
            "outputs": m,
            "in_blocks": x.blocks,
            "steps": steps[0] if len(steps) == 1 else f"T.Select(ic < {x.blocks - 1}, {steps[0]}, {steps[1]})",
            "coordinates": typed(coordinates),
            "input_coordinates": typed(input_coordinates),
            "output_coordinates": typed(output_coordinates),
            "x_index": [f"h{i} + {w} * {lanes}" for i in range(t.size)],
            "input_lines": input_lines,
            "input_values": input_values,
            "output_lines": output_lines,
            "output_values": output_values,
            "v_stride": v_stride,
            "m_stride": m_stride,
            "m_start": m_start,
            "most_tiles": self.most_tiles,
            "chunk": tile.chunk,
            "panels": panels,
            "oc_blocks": tile.oc_blocks,
            "width": self.group_width,
            "groups": groups.count,
            "group_start": f"T.min(g * {self.group_width}, tiles - {self.group_width})"
            if groups.count > 1
            else "T.int32(0)",
            "acc_index": f"(s * {tile.oc_blocks} + b) * {lanes}",
            "weight_index": f"((chunk * {positions} + xi) * {panels} + o) * {channels * panel}"
            f" + (ic * {lanes} + c) * {panel} + b * {lanes}",
            "initial": f" + bias[T.ramp((chunk0 + o) * {lanes}, 1, {lanes})]" if self.bias else "",
            "epilogue": activated(self.activation, "v", lanes, "e", mask),
            "residual": residual,
            # Long activations are not worth sixteen copies of themselves.
            "unrolled": is_cheap(self.activation) and not masks,
            "always_whole": whole,
            "y_index": f"y0 + i * {y.row_stride} + j * {lanes}",
            "borders": borders(y, "height", self.tile_rows, self.tile_columns),
        }
