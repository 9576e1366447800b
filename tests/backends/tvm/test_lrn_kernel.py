"""Local response normalisation against the float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.lrn import Lrn
from cnnir.ir.packing import from_physical, to_physical
from cnnir.ops.normalization import LRN, LrnAttrs

U = 2.0**-24
CASES = (
    # channels in blocks, channels more, attributes
    (2, 0, LrnAttrs(5, 1.0)),
    (1, 3, LrnAttrs(4, 0.9, 0.5, 2.0)),
    (0, 3, LrnAttrs(9, 0.5, 0.6)),
    (1, 0, LrnAttrs(1, 0.5, 1.0)),
)


def kernel_of(case: tuple[int, int, LrnAttrs], isa: Isa) -> Lrn:
    blocks, more, a = case
    c, b = blocks * isa.lanes + more, isa.lanes
    x, y = ImageBuffer(2, c, 3, 5, b, (1, 1, 0, 0)), ImageBuffer(2, c, 3, 5, b, (0, 1, 2, 1))
    return Lrn(x, y, a.size, a.alpha, a.beta, a.bias)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lrn(case: tuple[int, int, LrnAttrs], isa: Isa, run_kernel: Any, run_split: Any, poisoned: Any) -> None:
    run_kernel.build((kernel_of(c, isa) for c in CASES), isa)
    kernel, attrs = kernel_of(case, isa), case[2]
    x = np.random.default_rng(6).standard_normal(kernel.x.type.shape, dtype=np.float32) * 2
    y = run_split(kernel, {"x": poisoned(x, kernel.x)}, isa)
    got = from_physical(y, kernel.y.type)
    (expected,) = LRN.reference(attrs, (x.astype(np.float64),))
    # All terms are positive: squares, additions, scale and offset, then the power (two roots, a product, or a
    # library call within 2 ulp) and the quotient.
    bound = np.abs(expected) * U * ((attrs.size + 4) * max(1.0, attrs.beta) + 8)
    assert (np.abs(got - expected) <= bound).all()
    # Halo and padded channels come out zero.
    np.testing.assert_array_equal(y, to_physical(got, kernel.y.type.layout).reshape(-1))


def test_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match="images alike"):
        Lrn(ImageBuffer(1, 16, 3, 3, 16), ImageBuffer(1, 32, 3, 3, 16), 5)
