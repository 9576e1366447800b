"""A cost model for Winograd convolutions: the cut of least estimated cost, to be compared with the direct one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.conv import ConvKernel
from cnnir.backends.tvm.x86.kernels.conv_cost import THREADS, Core
from cnnir.backends.tvm.x86.kernels.conv_cost import estimate as estimate_direct
from cnnir.backends.tvm.x86.kernels.winograd import WinogradKernel, WinogradTile

TRANSFORM_CYCLES = 4.0
"""For each of the positions of a tile of one channel block, into the transformed domain and out of it."""

L3_BYTES_PER_CYCLE = 16.0
"""Weights that every block of tiles reads again, and scratch memory larger than a core's own cache."""

STREAM_BYTES_PER_CYCLE = 16.0
"""Weights come from memory, for all cores together: those of a network do not stay in the caches."""

MOST_GAIN = 0.9
"""Winograd must be estimated at this part of the direct cost at most: it costs accuracy and memory."""


def choose_winograd(direct: ConvKernel, isa: Isa, core: Core | None = None) -> WinogradKernel | None:
    """The Winograd form of a convolution, `None` where it has none or is not estimated to win clearly."""
    x, y = direct.input, direct.output
    if (direct.kernel_size, direct.stride, direct.dilation, direct.groups) != ((3, 3), (1, 1), (1, 1), 1):
        return None
    if x.block != y.block or min(y.height, y.width) < 2:
        return None
    core = core or Core()
    base = WinogradKernel(x, y, direct.pads, direct.bias, direct.residual, direct.activation)
    best = min(candidates(base, isa), key=lambda candidate: estimate(candidate, core))
    direct_cycles = estimate_direct(direct, core) + _stream(direct.arguments[1].size)
    return best if estimate(best, core) < MOST_GAIN * direct_cycles else None


def candidates(kernel: WinogradKernel, isa: Isa) -> Iterator[WinogradKernel]:
    """Every sensible cut whose accumulators, weights and one broadcast fit the registers."""
    blocks = kernel.output.blocks
    seen = set()
    for outputs in (4, 2):
        total = replace(kernel, tile=WinogradTile(outputs)).tile_split.extent
        sizes = {-(-total // count) for count in range(1, min(total, 64) + 1)}
        sizes |= {size for size in (8, 12, 14, 16, 24, 28) if size < total}
        for oc_blocks in range(1, min(blocks, 4 if isa.registers < 32 else 6) + 1):
            width = (isa.registers - 1 - oc_blocks) // oc_blocks
            panels = -(-blocks // oc_blocks)
            chunks = {min(-(-panels // n), blocks // oc_blocks) * oc_blocks for n in (1, 2, 4, 8, 16)}
            for size in sizes:
                for chunk in chunks:
                    tile = WinogradTile(outputs, size, chunk, oc_blocks, width)
                    candidate = replace(kernel, tile=tile)
                    key = (outputs, candidate.most_tiles, chunk, oc_blocks, candidate.group_width)
                    if key not in seen:
                        seen.add(key)
                        yield candidate


def estimate(kernel: WinogradKernel, core: Core) -> float:
    """Cycles of the whole kernel on one core, with a surcharge where the units do not balance over threads."""
    tile, lanes, positions = kernel.tile, kernel.output.block, kernel.transform.size**2
    channels, in_blocks = kernel.input.channels, kernel.input.blocks
    width, tiles, groups = kernel.group_width, kernel.most_tiles, kernel.group_split.count
    panels = tile.chunk // tile.oc_blocks
    fmas, loads = width * tile.oc_blocks, width + tile.oc_blocks
    step = max(fmas / core.fma, loads / core.loads, (fmas + loads + 3) / core.issue, core.fma_latency)
    step += core.load_overlap * loads / core.loads
    group = channels * step + in_blocks * core.loop_cycles + core.tile_cycles / 2 + 2 * fmas
    cycles = positions * panels * groups * group

    # The weights pass once for each block of tiles; V once for each panel that finds it gone from the first cache.
    panel_bytes = 4 * channels * tile.oc_blocks * lanes
    all_weights = 4 * kernel.arguments[1].size
    weight_rate = core.l2_bytes_per_cycle if all_weights <= core.l2_bytes // 2 else L3_BYTES_PER_CYCLE
    cycles += positions * panels * panel_bytes / weight_rate
    if panel_bytes > core.l1_bytes // 2:
        cycles += positions * panels * (groups - 1) * panel_bytes / core.l2_bytes_per_cycle
    scratch_bytes = 4 * kernel.scratch
    scratch_rate = core.l2_bytes_per_cycle if scratch_bytes <= 3 * core.l2_bytes // 4 else L3_BYTES_PER_CYCLE
    v_bytes = 4 * channels * tiles
    again = 0 if v_bytes <= core.l1_bytes // 2 else panels - 1
    cycles += positions * v_bytes * again / core.l2_bytes_per_cycle
    cycles += positions * (v_bytes + 8 * tiles * tile.chunk * lanes) / scratch_rate

    per_tile = TRANSFORM_CYCLES * positions
    cycles += tiles * tile.chunk * (per_tile + tile.outputs**2 * (2 if kernel.residual is None else 3))
    total = cycles * kernel.units * kernel.tile_split.extent / (tiles * kernel.tile_split.count)
    # A thread transforms the input once for each block of tiles that it meets.
    blocks = kernel.tile_split.count
    meetings = blocks if kernel.units >= THREADS[0] * kernel.chunks else max(blocks, THREADS[0])
    total += meetings * tiles * in_blocks * per_tile
    # Few threads matter most: weighted by how much work each of them has.
    shares = [math.ceil(kernel.units / t) / kernel.units for t in THREADS]
    imbalance = sum(shares) / sum(1 / t for t in THREADS)
    return total * imbalance + _stream(kernel.arguments[1].size)


def _stream(weights: int) -> float:
    """Cycles that the weights wait for the memory, as if half of it were hidden."""
    return 4 * weights / STREAM_BYTES_PER_CYCLE / 2
