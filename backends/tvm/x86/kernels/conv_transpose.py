"""Transposed convolution in float32 over channel-blocked images: a convolution of stride 1 for each phase."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.activation import is_cheap
from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.conv import Grouping
from cnnir.backends.tvm.x86.kernels.conv_cost import THREADS, Core
from cnnir.backends.tvm.x86.kernels.epilogue import Statements, activated, needs_mask, typed
from cnnir.backends.tvm.x86.kernels.split import decode
from cnnir.ir import DType
from cnnir.ops.activation import Activation
from cnnir.ops.spatial import NO_PADS, Pads, Pair

_INDEX_LIMIT = 2**31
_MAX_HEIGHT = 4


@dataclass(frozen=True, slots=True)
class Phases:
    """Along one axis: output pixel `phase + t * stride` sums the taps `firsts[phase] + j * apart` of the kernel,
    for j below `counts[phase]`, times the input pixels `t + bases[phase] - j * step`."""

    firsts: tuple[int, ...]
    counts: tuple[int, ...]
    bases: tuple[int, ...]
    apart: int
    step: int
    pixels: tuple[int, ...]
    """How many output pixels each phase has; never none, and they differ by one at most."""

    @classmethod
    def of(cls, kernel: int, stride: int, dilation: int, before: int, out: int) -> Phases:
        common = math.gcd(stride, dilation)
        firsts, counts, bases, pixels = [], [], [], []
        for phase in range(min(stride, out)):
            taps = [k for k in range(kernel) if (phase + before - k * dilation) % stride == 0]
            first = taps[0] if taps else 0
            firsts.append(first)
            counts.append(len(taps))
            bases.append((phase + before - first * dilation) // stride if taps else 0)
            pixels.append(-(-(out - phase) // stride))
        return cls(tuple(firsts), tuple(counts), tuple(bases), stride // common, dilation // common, tuple(pixels))

    def reach(self, size: int) -> Pair:
        """How many pixels before the first and behind the last of `size` input pixels are read."""
        used = [(b, n, p) for b, n, p in zip(self.bases, self.counts, self.pixels, strict=True) if n]
        before = max((-(base - (count - 1) * self.step) for base, count, _ in used), default=0)
        behind = max((pixels - 1 + base - (size - 1) for base, _, pixels in used), default=0)
        return max(before, 0), max(behind, 0)


def phases_of(
    kernel_size: Pair, stride: Pair, dilation: Pair, pads: Pads, out: tuple[int, int]
) -> tuple[Phases, Phases]:
    """The phases of rows and of columns, for an output of that height and width."""
    rows, columns = (
        Phases.of(kernel_size[axis], stride[axis], dilation[axis], pads[axis], out[axis]) for axis in (0, 1)
    )
    return rows, columns


@dataclass(frozen=True, slots=True)
class TransposedTile:
    """Registers hold `oc_blocks * height * width` accumulators: neighbouring output pixels of one phase."""

    oc_blocks: int = 1
    height: int = 1
    width: int = 1


@dataclass(frozen=True)
class ConvTransposeKernel(Kernel):
    """`activation(conv_transpose(x, weight) + bias)`, as `cnnir.ops.conv_transpose.CONV_TRANSPOSE` defines it.

    Output pixels whose places differ by multiples of the stride see the same taps: each such phase is a dense
    convolution of stride 1, whose weights lie together. No product with an inserted zero is computed.

    Pointers: `x`, `weight`, `bias` (if `bias`), `y`; weight and bias as `pack` makes them. The output's block is
    the vector width. What the phases read beside the image must lie within the input's halo, which holds zeros.
    The halo of the output and its channels past the last are written as zeros. Tiles may overlap.

    Raises `ValueError` for sizes that do not fit together: a bug of the lowering, never of the user.
    """

    template: ClassVar[str] = "x86/templates/conv_transpose.py.j2"

    input: ImageBuffer
    output: ImageBuffer
    kernel_size: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pads: Pads = NO_PADS
    groups: int = 1
    bias: bool = False
    activation: Activation | None = None
    tile: TransposedTile = field(default_factory=TransposedTile)

    def __post_init__(self) -> None:
        x, y, tile = self.input, self.output, self.tile
        if x.batch != y.batch:
            raise ValueError(f"batch {x.batch} of the input, {y.batch} of the output")
        if self.groups < 1 or x.channels % self.groups or y.channels % self.groups:
            raise ValueError(f"{x.channels} -> {y.channels} channels do not divide into {self.groups} groups")
        for axis, (phases, size) in enumerate(zip(self.phases, (x.height, x.width), strict=True)):
            before, behind = phases.reach(size)
            if before > x.halo[axis] or behind > x.halo[axis + 2]:
                raise ValueError(f"the phases read {before} before and {behind} behind axis {axis + 2}: {x.halo}")
        rows, columns = self.phases
        fits = tile.oc_blocks <= self.grouping.out_blocks and tile.height <= min(rows.pixels)
        if min(tile.oc_blocks, tile.height, tile.width) < 1 or not fits or tile.width > min(columns.pixels):
            raise ValueError(f"{tile} does not fit {self.grouping.out_blocks} channel blocks a group and {y}")
        if max(a.size for a in self.arguments) >= _INDEX_LIMIT:
            raise ValueError("a buffer of 2^31 elements or more cannot be indexed")

    # -- geometry

    @property
    def grouping(self) -> Grouping:
        return Grouping.of(self.input, self.output, self.groups)

    @property
    def phases(self) -> tuple[Phases, Phases]:
        out = self.output.height, self.output.width
        return phases_of(self.kernel_size, self.stride, self.dilation, self.pads, out)

    @property
    def channel_tiles(self) -> int:
        """Tiles of channel blocks in one merged group; the last one may overlap the one before."""
        return -(-self.grouping.out_blocks // self.tile.oc_blocks)

    def _axes(self) -> list[tuple[str, int]]:
        rows, columns = self.phases
        extents = {
            "channels": self.grouping.count * self.channel_tiles,
            "image": self.output.batch,
            "row_phase": len(rows.pixels),
            "column_phase": len(columns.pixels),
            "row": -(-max(rows.pixels) // self.tile.height),
            "column": -(-max(columns.pixels) // self.tile.width),
        }
        x = self.input
        weights = x.channels * self.output.channels // self.groups * math.prod(self.kernel_size)
        # What is larger is read once, and stays in the cache while the other passes.
        if weights > x.channels * x.height * x.width:
            order = ["channels", "row_phase", "column_phase", "image", "row", "column"]
        else:
            order = ["image", "row", "row_phase", "channels", "column_phase", "column"]
        return [(name, extents[name]) for name in order]

    @property
    def units(self) -> int:
        return math.prod(extent for _, extent in self._axes())

    @property
    def flops(self) -> int:
        x = self.input
        pixels = x.batch * x.height * x.width
        return 2 * pixels * x.channels * (self.output.channels // self.groups) * math.prod(self.kernel_size)

    # -- operands

    @property
    def _slab(self) -> tuple[int, ...]:
        """The weights of one unit: input block, row tap, column tap, input channel, output channel."""
        g, (rows, columns) = self.grouping, self.phases
        step = min(self.input.block, g.in_channels)
        # A phase without any tap still has a place.
        taps = max(1, *rows.counts), max(1, *columns.counts)
        return g.in_blocks, *taps, step, self.tile.oc_blocks * self.output.block

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        phases = tuple(len(p.pixels) for p in self.phases)
        return self.grouping.count, self.channel_tiles, *phases, *self._slab

    @property
    def arguments(self) -> tuple[Argument, ...]:
        arguments = [
            Argument("x", DType.F32, self.input.size),
            Argument("weight", DType.F32, math.prod(self._weight_shape)),
        ]
        if self.bias:
            arguments.append(Argument("bias", DType.F32, self.output.blocks * self.output.block))
        return (*arguments, Argument("y", DType.F32, self.output.size, written=True))

    def pack(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], ...]:
        """The constants in the order of the kernel: weight `[C, O/groups, KH, KW]`, then bias `[O]` if it has one.

        The packed weight is `[merged group, channel tile, row phase, column phase, input block, row tap, column
        tap, input channel, output channel]`, zeros standing for channels past the last, for pairs of channels that
        groups keep apart, and for taps that a phase has fewer than the largest.
        """
        g, lanes, ocb = self.grouping, self.output.block, self.tile.oc_blocks
        c, o = self.input.channels // self.groups, self.output.channels // self.groups
        merged = self.groups // g.count
        in_blocks, _, _, step, width = self._slab
        kh, kw = self.kernel_size
        dense = np.zeros((g.count, in_blocks * step, g.out_blocks * lanes, kh, kw), np.float32)
        parts = weight.reshape(g.count, merged, c, o, kh, kw)
        for i in range(merged):
            dense[:, i * c : (i + 1) * c, i * o : (i + 1) * o] = parts[:, i]
        starts = [min(t * ocb, g.out_blocks - ocb) * lanes for t in range(self.channel_tiles)]
        packed = np.zeros(self._weight_shape, np.float32)
        rows, columns = self.phases
        for tile, start in enumerate(starts):
            blocks = dense[:, :, start : start + width].reshape(g.count, in_blocks, step, width, kh, kw)
            for p, (first_row, row_count) in enumerate(zip(rows.firsts, rows.counts, strict=True)):
                for q, (first_column, column_count) in enumerate(zip(columns.firsts, columns.counts, strict=True)):
                    row_taps = slice(first_row, first_row + row_count * rows.apart, rows.apart)
                    column_taps = slice(first_column, first_column + column_count * columns.apart, columns.apart)
                    taps = blocks[..., row_taps, column_taps] if row_count and column_count else blocks[..., :0, :0]
                    packed[:, tile, p, q, :, : taps.shape[-2], : taps.shape[-1]] = taps.transpose(0, 1, 4, 5, 2, 3)
        if not self.bias:
            return (packed,)
        if bias is None:
            raise ValueError("the kernel adds a bias, got none")
        return packed, np.pad(bias.astype(np.float32, copy=False), (0, self.output.blocks * lanes - bias.size))

    # -- template

    def context(self) -> dict[str, Any]:
        g, tile, lanes = self.grouping, self.tile, self.output.block
        x, y = self.input, self.output
        in_blocks, row_taps, column_taps, step, panel = self._slab
        (sh, sw), (rows, columns) = self.stride, self.phases
        tiles = self.channel_tiles
        within = f"channels % {tiles}" if g.count > 1 else "channels"
        first = f"({within}) * {tile.oc_blocks}"
        if g.out_blocks % tile.oc_blocks:
            first = f"T.min({first}, {g.out_blocks - tile.oc_blocks})"
        slab = math.prod(self._slab)
        coordinates = [
            *decode("lo + u", self._axes()),
            ("group", f"channels // {tiles}" if g.count > 1 else "0"),
            ("block", f"group * {g.out_blocks} + {first}"),
            ("h0", _start("row", tile.height, "row_phase", rows)),
            ("w0", _start("column", tile.width, "column_phase", columns)),
            ("row_taps", _table("row_phase", rows.counts)),
            ("column_taps", _table("column_phase", columns.counts)),
            (
                "x0",
                f"image * {x.image_stride} + group * {g.in_blocks * x.plane_stride}"
                f" + (h0 + {_table('row_phase', rows.bases)}) * {x.row_stride}"
                f" + (w0 + {_table('column_phase', columns.bases)}) * {x.block} + {x.origin}",
            ),
            (
                "weight0",
                f"((channels * {len(rows.pixels)} + row_phase) * {len(columns.pixels)} + column_phase) * {slab}",
            ),
            ("y_plane", f"image * {y.image_stride} + block * {y.plane_stride}"),
            (
                "y0",
                f"y_plane + (row_phase + h0 * {sh}) * {y.row_stride} + (column_phase + w0 * {sw}) * {lanes}"
                f" + {y.origin}",
            ),
        ]
        y_index = f"y0 + o * {y.plane_stride} + t * {sh * y.row_stride} + s * {sw * lanes}"
        target, late, epilogue = f"y[T.ramp({y_index}, 1, {lanes})]", None, Statements([], "v")
        # As in `ConvKernel`: long activations run in a loop of their own over a copy of the tile.
        masks = needs_mask(self.activation, y)
        if is_cheap(self.activation) and not masks:
            epilogue = activated(self.activation, "v", lanes, "e")
        else:
            channels = (f"(block + o) * {lanes}", y.channels) if masks else None
            target = f"scratch[T.ramp(((t * {tile.width} + s) * {tile.oc_blocks} + o) * {lanes}, 1, {lanes})]"
            late = activated(self.activation, target, lanes, "e", channels)
        tail = g.in_channels % x.block
        full = min(x.block, g.in_channels)
        return {
            "lanes": lanes,
            "tile": tile,
            "in_blocks": in_blocks,
            "steps": f"T.Select(ic < {in_blocks - 1}, {full}, {tail})" if tail and in_blocks > 1 else full,
            "coordinates": typed(coordinates),
            "initial": f"bias[T.ramp((block + o) * {lanes}, 1, {lanes})]"
            if self.bias
            else f"T.broadcast(T.float32(0), {lanes})",
            "x_index": f"x0 + ic * {x.plane_stride} + t * {x.row_stride} + s * {x.block}"
            f" - kh * {rows.step * x.row_stride} - kw * {columns.step * x.block} + c",
            "weight_index": f"weight0 + ((ic * {row_taps} + kh) * {column_taps} + kw) * {step * panel}"
            f" + c * {panel} + o * {lanes}",
            "y_index": y_index,
            "epilogue": epilogue,
            "late": late,
            "target": target,
            "halo": list(_halo_runs(y)),
        }


def _table(phase: str, values: tuple[int, ...]) -> str:
    """TVMScript of the value of a phase."""
    text = str(values[-1])
    for i in range(len(values) - 2, -1, -1):
        if values[i] != values[i + 1]:
            text = f"T.Select({phase} <= {i}, {values[i]}, {text})"
    return f"({text})" if values[-1] < 0 else text


def _start(tile: str, size: int, phase: str, phases: Phases) -> str:
    """TVMScript of the first pixel of a tile, within its phase: the last tile is moved back onto the image."""
    if all(pixels % size == 0 for pixels in phases.pixels) and len(set(phases.pixels)) == 1:
        return f"{tile} * {size}"
    last = tuple(pixels - size for pixels in phases.pixels)
    return f"T.min({tile} * {size}, {_table(phase, last)})"


def _halo_runs(y: ImageBuffer) -> Iterator[tuple[int, str]]:
    """Runs of halo pixels of a plane: how many, and where the i-th is."""
    top, left, bottom, right = y.halo
    if top:
        yield top * y.columns, f"i * {y.block}"
    if bottom:
        yield bottom * y.columns, f"{(top + y.height) * y.row_stride} + i * {y.block}"
    for width, column in ((left, 0), (right, left + y.width)):
        if width:
            index = f"({top} + i // {width}) * {y.row_stride} + ({column} + i % {width}) * {y.block}"
            yield y.height * width, index


def choose_transposed(kernel: ConvTransposeKernel, isa: Isa, core: Core | None = None) -> ConvTransposeKernel:
    """The same transposed convolution with the tile of least estimated cost."""
    core = core or Core()
    return min(_candidates(kernel, isa), key=lambda candidate: _estimate(candidate, core))


def _candidates(kernel: ConvTransposeKernel, isa: Isa) -> Iterator[ConvTransposeKernel]:
    """Every tile whose accumulators, weights and one broadcast fit the registers."""
    rows, columns = kernel.phases
    for oc_blocks in range(1, min(kernel.grouping.out_blocks, 4) + 1):
        limit = (isa.registers - 1 - oc_blocks) // oc_blocks
        for height in range(1, min(min(rows.pixels), _MAX_HEIGHT, limit) + 1):
            for width in range(1, min(min(columns.pixels), limit // height) + 1):
                yield replace(kernel, tile=TransposedTile(oc_blocks, height, width))


def _estimate(kernel: ConvTransposeKernel, core: Core) -> float:
    """Cycles on one core, with a surcharge where the units do not balance over threads."""
    tile, (rows, columns) = kernel.tile, kernel.phases
    pixels = tile.height * tile.width
    fmas, loads = pixels * tile.oc_blocks, pixels + tile.oc_blocks
    step = max(fmas / core.fma, loads / core.loads, (fmas + loads + 3) / core.issue, core.fma_latency)
    step += core.load_overlap * loads / core.loads
    phases = len(rows.pixels) * len(columns.pixels)
    taps = sum(rows.counts) * sum(columns.counts) / phases
    cycles = kernel.grouping.in_channels * taps * step + core.tile_cycles + 2 * fmas
    units = kernel.units
    return units * cycles * sum(math.ceil(units / t) * t / units for t in THREADS)
