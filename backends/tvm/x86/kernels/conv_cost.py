"""A cost model that picks the tile of a direct convolution, good enough that tuning finds little."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.conv import ConvKernel, ConvTile, UnitOrder


@dataclass(frozen=True, slots=True)
class Core:
    """The core that costs are counted for: per cycle, unless it says bytes. Between the x86 cores of a decade."""

    fma: float = 2
    loads: float = 2
    issue: float = 5
    fma_latency: float = 4
    loop_cycles: float = 2
    """One pass of a loop outside the innermost one."""
    tile_cycles: float = 60
    """Decoding a work unit, filling and draining the pipeline."""
    l1_bytes: int = 32 << 10
    l2_bytes: int = 1 << 20
    load_overlap: float = 0.2
    """The part of the load time that the arithmetic does not hide."""
    l2_bytes_per_cycle: float = 128
    """What a stream of weights from the second-level cache adds to the loop, behind the hardware prefetcher."""
    l3_bytes_per_cycle: float = 48


THREADS = (2, 4, 8)
"""Thread counts over which the units should balance."""

MAX_TILE_HEIGHT = 4


def choose(kernel: ConvKernel, isa: Isa, core: Core | None = None) -> ConvKernel:
    """The same convolution with the tile of least estimated cost."""
    core = core or Core()
    return min(candidates(kernel, isa), key=lambda candidate: estimate(candidate, core))


def candidates(kernel: ConvKernel, isa: Isa) -> Iterator[ConvKernel]:
    """Every sensible tile whose accumulators, weights and one broadcast fit the registers."""
    kernel = replace(kernel, tile=ConvTile())
    height, width = kernel.row_split.extent, kernel.column_split.extent
    order, unroll = _order(kernel), _unroll(kernel)
    prefetch = order is UnitOrder.CHANNELS
    seen = set()
    for oc_blocks in range(1, min(kernel.grouping.out_blocks, 4 if isa.registers < 32 else 6) + 1):
        limit = (isa.registers - 1 - oc_blocks) // oc_blocks
        for h in range(1, min(height, MAX_TILE_HEIGHT, limit) + 1):
            for w in range(1, min(width, limit // h) + 1):
                tile = ConvTile(oc_blocks, h, w, unroll, order, prefetch)
                candidate = replace(kernel, tile=tile)
                rows, columns = candidate.row_split, candidate.column_split
                key = (oc_blocks, rows.count, columns.count)
                if key not in seen:
                    seen.add(key)
                    yield candidate


def estimate(kernel: ConvKernel, core: Core) -> float:
    """Cycles of the whole kernel on one core, with a surcharge where the units do not balance over threads."""
    g, tile, lanes = kernel.grouping, kernel.tile, kernel.output.block
    kh, kw = kernel.kernel_size
    steps = g.in_channels * kh * kw
    slab = 4 * steps * tile.oc_blocks * lanes
    if slab <= core.l1_bytes // 2:
        weight_cycles = 0.0
    else:
        # The slab in use and the one being fetched share the cache with the input.
        in_l2 = slab <= 3 * core.l2_bytes // 8
        weight_cycles = 4 * lanes * tile.oc_blocks / (core.l2_bytes_per_cycle if in_l2 else core.l3_bytes_per_cycle)
    total = 0.0
    for rows, row_count in _sizes(kernel.row_split.extent, kernel.tile.height):
        for columns, column_count in _sizes(kernel.column_split.extent, kernel.tile.width):
            pixels = rows * columns
            fmas = pixels * tile.oc_blocks
            loads = pixels + tile.oc_blocks
            step = max(
                fmas / core.fma,
                loads / core.loads,
                (fmas + loads + 3 / tile.unroll) / core.issue,
                core.fma_latency,
            )
            cycles = (
                steps * (step + core.load_overlap * loads / core.loads + weight_cycles)
                + g.in_blocks * kh * kw * core.loop_cycles
            )
            cycles += core.tile_cycles + 2 * fmas * (1 if kernel.residual is None else 1.5)
            total += cycles * row_count * column_count
    units = kernel.units
    total *= kernel.output.batch * g.count * kernel.channel_tiles
    imbalance = sum(math.ceil(units / t) * t / units for t in THREADS) / len(THREADS)
    variants = len(kernel.row_split.variants("")) * len(kernel.column_split.variants(""))
    # Every further body costs compile time and instruction cache.
    return total * imbalance * (1 + 0.01 * (variants - 1))


def _sizes(extent: int, limit: int) -> list[tuple[int, int]]:
    """Tile sizes of a `Split` with how many there are of each."""
    count = -(-extent // limit)
    size, big = divmod(extent, count)
    return [(n, c) for n, c in ((size + 1, big), (size, count - big)) if c]


def _order(kernel: ConvKernel) -> UnitOrder:
    weights = kernel.output.channels * kernel.input.channels // kernel.groups * math.prod(kernel.kernel_size)
    return UnitOrder.CHANNELS if weights > kernel.input.size // kernel.input.batch else UnitOrder.ROWS


def _unroll(kernel: ConvKernel) -> int:
    """All channels of a block of a few, as an image has; else loops cost nothing beside the arithmetic."""
    channels = kernel.grouping.in_channels
    return channels if channels <= 4 and channels <= kernel.input.block else 1
