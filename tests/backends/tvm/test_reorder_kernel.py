"""Layout changes against the packing of arrays: bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.reorder import ImageReorder, ReorderMethod, reorder
from cnnir.ir.packing import to_physical

NONE = (0, 0, 0, 0)
L = -1  # stands for the lanes of the instruction set
CASES = {
    # channels (beyond `blocks` blocks), plane, blocks in and out, halos in and out, method
    "input": (0, 3, (7, 37), 1, 3, NONE, (3, 3, 2, 2), ReorderMethod.INTERLEAVE),
    "input without tail": (0, 3, (5, 32), 1, 4, NONE, NONE, ReorderMethod.INTERLEAVE),
    "grey input": (0, 1, (6, 28), 1, 2, NONE, (1, 1, 1, 1), ReorderMethod.INTERLEAVE),
    "into blocks": (1, 3, (5, 9), 1, L, NONE, (1, 0, 0, 2), ReorderMethod.BLOCK),
    "into whole blocks": (2, 0, (4, 33), 1, L, NONE, (1, 1, 1, 1), ReorderMethod.BLOCK),
    "into blocks, flat": (2, 1, (7, 7), 1, L, NONE, NONE, ReorderMethod.BLOCK),
    "out of blocks": (1, 3, (5, 9), L, 1, (1, 0, 0, 2), NONE, ReorderMethod.UNBLOCK),
    "out of whole blocks": (2, 0, (4, 33), L, 1, (0, 1, 0, 0), NONE, ReorderMethod.UNBLOCK),
    "out of blocks, flat": (2, 1, (7, 7), L, 1, NONE, NONE, ReorderMethod.UNBLOCK),
    "small to large blocks": (0, 5, (4, 4), 3, L, (1, 1, 1, 1), (2, 0, 0, 0), ReorderMethod.ELEMENTS),
    "large to small blocks": (1, 2, (4, 4), L, 4, NONE, (0, 1, 0, 1), ReorderMethod.ELEMENTS),
    "out of a small block": (0, 3, (4, 20), 3, 1, (1, 1, 1, 1), NONE, ReorderMethod.ELEMENTS),
    "same blocks": (1, 2, (4, 5), L, L, (1, 1, 1, 1), (0, 2, 0, 1), None),
}


def kernel_of(name: str, isa: Isa) -> tuple[Kernel, ImageBuffer, ImageBuffer]:
    blocks, more, plane, block_in, block_out, halo_in, halo_out, _ = CASES[name]
    channels = blocks * isa.lanes + more
    x = ImageBuffer(2, channels, *plane, isa.lanes if block_in == L else block_in, halo_in)
    y = ImageBuffer(2, channels, *plane, isa.lanes if block_out == L else block_out, halo_out)
    return reorder(x, y, isa), x, y


@pytest.mark.parametrize("name", CASES)
def test_reorder(name: str, isa: Isa, run_kernel: Any, run_split: Any, poisoned: Any) -> None:
    run_kernel.build((kernel_of(n, isa)[0] for n in CASES), isa)
    kernel, x_image, y_image = kernel_of(name, isa)
    x = np.random.default_rng(13).standard_normal(x_image.type.shape, dtype=np.float32)
    y = run_split(kernel, {"x": poisoned(x, x_image)}, isa)
    np.testing.assert_array_equal(y, to_physical(x, y_image.type.layout).reshape(-1))
    method = kernel.method if isinstance(kernel, ImageReorder) else None
    assert method == CASES[name][-1]


def test_refuses_another_shape(isa: Isa) -> None:
    with pytest.raises(ValueError, match="keeps the shape"):
        reorder(ImageBuffer(1, 3, 4, 4), ImageBuffer(1, 3, 4, 5, 16), isa)
