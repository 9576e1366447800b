"""Direct convolution in float32 over channel-blocked images, any stride, dilation, padding and groups."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.activation import is_cheap
from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
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

_INDEX_LIMIT = 2**31


class UnitOrder(Enum):
    """In which order the work units run, outermost axis first: what a thread owns, what stays in its cache."""

    CHANNELS = ("channels", "image", "row", "column")
    """A slab of weights stays in the cache while every pixel passes: for weights larger than the input."""
    ROWS = ("image", "row", "channels", "column")
    """A row of tiles of the input stays in the cache while every slab of weights passes."""


@dataclass(frozen=True, slots=True)
class ConvTile:
    """How a convolution is cut: registers hold `oc_blocks * height * width` accumulators.

    `height` and `width` are upper limits (see `Split`), in output pixels; of flattened 1x1 convolutions only
    `width` counts. `unroll` input channels make one pass of the innermost loop. With `prefetch`, each pass also
    fetches the same part of the next slab of weights into the second-level cache.
    """

    oc_blocks: int = 1
    height: int = 1
    width: int = 1
    unroll: int = 1
    order: UnitOrder = UnitOrder.ROWS
    prefetch: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups merged until each covers whole channel blocks; sizes are those of one merged group."""

    count: int
    in_channels: int
    in_blocks: int
    out_blocks: int

    @classmethod
    def of(cls, x: ImageBuffer, y: ImageBuffer, groups: int) -> Grouping:
        for merged in range(1, groups):
            if groups % merged == 0:
                c, o = merged * x.channels // groups, merged * y.channels // groups
                if c % x.block == 0 and o % y.block == 0:
                    return cls(groups // merged, c, c // x.block, o // y.block)
        return cls(1, x.channels, x.blocks, y.blocks)


@dataclass(frozen=True)
class ConvKernel(Kernel):
    """`activation(conv(x, weight) + bias + residual)`, as `cnnir.ops.conv.CONV` defines it.

    Pointers: `x`, `weight`, `bias` (if `bias`), `residual` (if given), `y`; weight and bias as `pack` makes them.
    The output's block is the vector width; the input's may be any. `pads` must lie within the input's halo, which
    holds zeros: the layout pass provides it. The halo of the output and its channels past the last are written
    as zeros. Tiles of channels may overlap, so `y` must not share memory with `residual` or `x`.

    Raises `ValueError` for sizes that do not fit together: a bug of the lowering, never of the user.
    """

    template: ClassVar[str] = "x86/templates/conv.py.j2"

    input: ImageBuffer
    output: ImageBuffer
    kernel_size: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pads: Pads = NO_PADS
    groups: int = 1
    bias: bool = False
    residual: ImageBuffer | None = None
    activation: Activation | None = None
    tile: ConvTile = field(default_factory=ConvTile)

    def __post_init__(self) -> None:
        check_window_fits(self.input, self.output, self.kernel_size, self.stride, self.dilation, self.pads)
        check_residual(self.output, self.residual)
        x, y, tile = self.input, self.output, self.tile
        if self.groups < 1 or x.channels % self.groups or y.channels % self.groups:
            raise ValueError(f"{x.channels} -> {y.channels} channels do not divide into {self.groups} groups")
        if tile.oc_blocks > self.grouping.out_blocks or min(tile.oc_blocks, tile.height, tile.width) < 1:
            raise ValueError(f"{tile} does not fit {self.grouping.out_blocks} channel blocks a group")
        if any(n % tile.unroll for n in self._channel_steps()):
            raise ValueError(f"cannot unroll {tile.unroll} of {self._channel_steps()} input channels")
        if max(a.size for a in self.arguments) >= _INDEX_LIMIT:
            raise ValueError("a buffer of 2^31 elements or more cannot be indexed")

    # -- geometry

    @property
    def grouping(self) -> Grouping:
        return Grouping.of(self.input, self.output, self.groups)

    @property
    def is_flat(self) -> bool:
        """Whether all the pixels of a plane can be treated as one row."""
        buffers = [b for b in (self.input, self.output, self.residual) if b is not None]
        pointwise = self.kernel_size == (1, 1) and self.stride == (1, 1)
        return pointwise and not any(any(b.halo) for b in buffers)

    def _view(self, buffer: ImageBuffer) -> ImageBuffer:
        return replace(buffer, height=1, width=buffer.height * buffer.width) if self.is_flat else buffer

    @property
    def row_split(self) -> Split:
        return Split(self._view(self.output).height, self.tile.height)

    @property
    def column_split(self) -> Split:
        return Split(self._view(self.output).width, self.tile.width)

    @property
    def channel_tiles(self) -> int:
        """Tiles of channel blocks in one merged group; the last one may overlap the one before."""
        return -(-self.grouping.out_blocks // self.tile.oc_blocks)

    def _channel_steps(self) -> list[int]:
        """The numbers of channels that blocks of the input hold: the block, and what the last one has."""
        block, channels = self.input.block, self.grouping.in_channels
        return [c for c in (block if channels >= block else 0, channels % block) if c]

    @property
    def units(self) -> int:
        return math.prod(extent for _, extent in self._axes())

    def _axes(self) -> list[tuple[str, int]]:
        extents = {
            "channels": self.grouping.count * self.channel_tiles,
            "image": self.output.batch,
            "row": self.row_split.count,
            "column": self.column_split.count,
        }
        return [(name, extents[name]) for name in self.tile.order.value]

    @property
    def flops(self) -> int:
        y, (kh, kw) = self.output, self.kernel_size
        pixels = y.batch * y.height * y.width
        return 2 * pixels * y.channels * (self.input.channels // self.groups) * kh * kw

    # -- operands

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        g, tile = self.grouping, self.tile
        step = min(self.input.block, g.in_channels)
        return (
            g.count,
            self.channel_tiles,
            g.in_blocks,
            *self.kernel_size,
            step,
            tile.oc_blocks * self.output.block,
        )

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
        """The constants in the order of the kernel: weight `[O, C/groups, KH, KW]`, then bias `[O]` if it has one.

        The packed weight is `[merged group, channel tile, input block, KH, KW, input channel, output channel]`,
        zeros standing for channels past the last and for pairs of channels that groups keep apart.
        """
        g, lanes, ocb = self.grouping, self.output.block, self.tile.oc_blocks
        o, c = self.output.channels // self.groups, self.input.channels // self.groups
        merged = self.groups // g.count
        _, _, in_blocks, kh, kw, step, width = self._weight_shape
        dense = np.zeros((g.count, g.out_blocks * lanes, in_blocks * step, kh, kw), np.float32)
        parts = weight.reshape(g.count, merged, o, c, kh, kw)
        for i in range(merged):
            dense[:, i * o : (i + 1) * o, i * c : (i + 1) * c] = parts[:, i]
        starts = [min(t * ocb, g.out_blocks - ocb) * lanes for t in range(self.channel_tiles)]
        tiles = np.stack([dense[:, s : s + width] for s in starts], axis=1)
        tiles = tiles.reshape(g.count, len(starts), width, in_blocks, step, kh, kw).transpose(0, 1, 3, 5, 6, 4, 2)
        packed = np.ascontiguousarray(tiles)
        if not self.bias:
            return (packed,)
        if bias is None:
            raise ValueError("the kernel adds a bias, got none")
        return packed, np.pad(bias.astype(np.float32, copy=False), (0, self.output.blocks * lanes - bias.size))

    # -- template

    def context(self) -> dict[str, Any]:
        g, tile, lanes = self.grouping, self.tile, self.output.block
        x, y = self._view(self.input), self._view(self.output)
        _, _, _, kh, kw, step, panel = self._weight_shape
        (sh, sw), (dh, dw) = self.stride, self.dilation
        rows, columns = self.row_split, self.column_split
        tiles = self.channel_tiles
        within = f"channels % {tiles}" if g.count > 1 else "channels"
        overlap = g.out_blocks % tile.oc_blocks
        first = f"({within}) * {tile.oc_blocks}"
        if overlap:
            first = f"T.min({first}, {g.out_blocks - tile.oc_blocks})"
        group = f"channels // {tiles}" if g.count > 1 else "0"
        coordinates = [
            *decode("lo + u", self._axes()),
            ("group", group),
            ("block", f"group * {g.out_blocks} + {first}"),
            ("h0", self.row_split.start("row")),
            ("w0", self.column_split.start("column")),
            (
                "x0",
                f"image * {x.image_stride} + group * {g.in_blocks * x.plane_stride}"
                f" + h0 * {sh * x.row_stride} + w0 * {sw * x.block}"
                f" + {x.origin - self.pads[0] * x.row_stride - self.pads[1] * x.block}",
            ),
            ("weight0", f"channels * {math.prod(self._weight_shape[2:])}"),
            ("y_plane", f"image * {y.image_stride} + block * {y.plane_stride}"),
            ("y0", f"y_plane + h0 * {y.row_stride} + w0 * {lanes} + {y.origin}"),
        ]
        y_index = f"y0 + o * {y.plane_stride} + t * {y.row_stride} + s * {lanes}"
        result = "v"
        if self.residual is not None:
            r = self._view(self.residual)
            coordinates.append(
                (
                    "r0",
                    f"image * {r.image_stride} + block * {r.plane_stride}"
                    f" + h0 * {r.row_stride} + w0 * {lanes} + {r.origin}",
                )
            )
            r_index = f"r0 + o * {r.plane_stride} + t * {r.row_stride} + s * {lanes}"
            result = f"v + residual[T.ramp({r_index}, 1, {lanes})]"
        # Long activations, and those that must be masked, run in a loop of their own over a copy of the tile: the
        # code stays short, and `y` only ever receives final values.
        masks = needs_mask(self.activation, y)
        late = None
        target = f"y[T.ramp({y_index}, 1, {lanes})]"
        epilogue = Statements([], result)
        most_rows, most_columns = rows.size + bool(rows.big), columns.size + bool(columns.big)
        if is_cheap(self.activation) and not masks:
            epilogue = activated(self.activation, result, lanes, "e")
        else:
            channels = (f"(block + o) * {lanes}", self.output.channels) if masks else None
            at = f"(t * {most_columns * tile.oc_blocks} + s * {tile.oc_blocks} + o) * {lanes}"
            target = f"scratch[T.ramp({at}, 1, {lanes})]"
            late = activated(self.activation, target, lanes, "e", channels)
        steps = self._channel_steps()
        full, tail = steps[0] // tile.unroll, steps[-1] // tile.unroll
        return {
            "lanes": lanes,
            "oc_blocks": tile.oc_blocks,
            "unroll": tile.unroll,
            "kernel_size": self.kernel_size,
            "in_blocks": g.in_blocks,
            "steps": full if full == tail else f"T.Select(ic < {g.in_blocks - 1}, {full}, {tail})",
            "coordinates": typed(coordinates),
            "initial": f"bias[T.ramp((block + o) * {lanes}, 1, {lanes})]"
            if self.bias
            else f"T.broadcast(T.float32(0), {lanes})",
            "x_index": f"x0 + ic * {x.plane_stride} + kh * {dh * x.row_stride} + kw * {dw * x.block}"
            f" + t * {sh * x.row_stride} + s * {sw * x.block} + c * {tile.unroll}",
            "weight_index": f"weight0 + ((ic * {kh} + kh) * {kw} + kw) * {step * panel}"
            f" + c * {tile.unroll * panel}",
            "prefetch": tile.prefetch * math.prod(self._weight_shape[2:]),
            "prefetch_lines": -(-tile.unroll * panel // 16),
            "y_index": y_index,
            "epilogue": epilogue,
            "late": late,
            "target": target,
            "scratch_size": most_rows * most_columns * tile.oc_blocks * lanes,
            "rows": rows.length("row"),
            "columns": columns.length("column"),
            "borders": borders(y, rows.length("row"), rows.count, columns.count),
            "variants": [
                {
                    "condition": " and ".join(f"({c})" for c in (row_condition, column_condition) if c),
                    "rows": height,
                    "columns": width,
                }
                for row_condition, height in rows.variants("row")
                for column_condition, width in columns.variants("column")
            ],
        }
