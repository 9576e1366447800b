"""Convolution in groups of fewer channels than a vector has lanes, in float32 over channel-blocked images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.kernel import Argument
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.depthwise import DepthwiseKernel

_PERMUTE = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}
"""The instruction that picks for each lane one of a vector of so many."""

_PIXELS_A_UNIT = 64
_MOST_UNROLLED_CHANNELS = 4


@dataclass(frozen=True)
class GroupedKernel(DepthwiseKernel):
    """`activation(conv(x, weight) + bias + residual)` with groups of `group_width` channels in and as many out.

    As the depthwise convolution, which is the case of groups of one: a vector of outputs comes from the vector of
    the same channels, but each tap takes `group_width` products, of the vector permuted so that every lane sees
    one channel of its own group. The group must divide the vector. Pointers and memory as there.
    """

    template: ClassVar[str] = "x86/templates/grouped.py.j2"

    group_width: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        lanes = self.output.block
        if lanes not in _PERMUTE or self.group_width < 1 or lanes % self.group_width:
            raise ValueError(f"groups of {self.group_width} channels in vectors of {lanes}")
        if self.output.channels % self.group_width:
            raise ValueError(f"{self.output.channels} channels in groups of {self.group_width}")

    @property
    def flops(self) -> int:
        return self.group_width * super().flops

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return tuple(
            replace(a, size=a.size * self.group_width) if a.name == "weight" else a for a in super().arguments
        )

    def pack(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], ...]:
        """The constants in the order of the kernel: weight `[C, group_width, KH, KW]`, then bias `[C]`.

        The packed weight is `[block, KH, channel of the group, KW, channel]`.
        """
        y = self.output
        constants = super().pack(weight[:, :1], bias)
        padding = y.blocks * y.block - y.channels
        padded = np.pad(weight.astype(np.float32, copy=False), ((0, padding), (0, 0), (0, 0), (0, 0)))
        blocks = padded.reshape(y.blocks, y.block, self.group_width, *self.kernel_size)
        return (np.ascontiguousarray(blocks.transpose(0, 3, 2, 4, 1)), *constants[1:])

    def context(self) -> dict[str, Any]:
        lanes, width = self.output.block, self.group_width
        (kh, kw) = self.kernel_size
        group = f"T.ramp(0, 1, {lanes}) // T.broadcast({width}, {lanes}) * T.broadcast({width}, {lanes})"
        return super().context() | {
            "group_width": width,
            "channel_loop": "unroll" if width <= _MOST_UNROLLED_CHANNELS else "serial",
            "permute": _PERMUTE[lanes],
            "lane": f"{group} + T.broadcast(k, {lanes})",
            "weight_index": f"(((block * {kh} + kh) * {width} + k) * {kw} + kw) * {lanes}",
        }


def choose_grouped(kernel: GroupedKernel, isa: Isa) -> GroupedKernel:
    """The same convolution with a tile that fits the registers: accumulators, and permuted pixels in between."""
    output = kernel.output
    # Neighbours share most permuted pixels, with a stride half of them at best.
    width = 3 * isa.registers // (8 if kernel.stride[1] == 1 else 12)
    rows = max(1, min(output.height, _PIXELS_A_UNIT // output.width))
    return replace(kernel, width=min(width, output.width), rows=rows)


def is_narrow(channels: int, filters: int, groups: int, lanes: int) -> bool:
    """Whether a convolution has groups that this kernel takes, several of them to a vector."""
    return channels == filters and 1 < channels // groups < lanes and lanes % (channels // groups) == 0
