"""Fully connected kernels against the float64 product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.dense import Dense
from cnnir.ops.activation import Activation, ActivationKind

U = 2.0**-24
CASES = (
    # rows, inputs, outputs, activation
    (1, 64, 10, None),
    (1, 100, 1000, None),
    (1, 2047, 100, ActivationKind.RELU),
    (1, 7, 512, None),
    (2, 1, 1, None),
    (3, 37, 50, ActivationKind.SIGMOID),
    (7, 19, 130, None),
    (9, 65, 1024, ActivationKind.RELU),
    (33, 5, 17, None),
)


def kernel_of(case: tuple[int, int, int, ActivationKind | None], isa: Isa) -> Dense:
    rows, inputs, outputs, kind = case
    return Dense(rows, inputs, outputs, isa, None if kind is None else Activation(kind))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_dense(
    case: tuple[int, int, int, ActivationKind | None], with_bias: bool, isa: Isa, run_kernel: Any, run_split: Any
) -> None:
    run_kernel.build((kernel_of(c, isa) for c in CASES), isa)
    kernel = kernel_of(case, isa)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((kernel.rows, kernel.inputs), dtype=np.float32)
    weight = rng.standard_normal((kernel.outputs, kernel.inputs), dtype=np.float32)
    bias = rng.standard_normal(kernel.outputs, dtype=np.float32) if with_bias else None
    packed, packed_bias = kernel.pack(weight, bias)
    y = run_split(kernel, {"x": x, "weight": packed, "bias": packed_bias}, isa).reshape(kernel.rows, kernel.outputs)
    offset = 0 if bias is None else bias.astype(np.float64)
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + offset
    bound = (kernel.inputs + 3) * U * (np.abs(x) @ np.abs(weight).T + np.abs(offset))
    if kernel.activation is not None:
        expected = kernel.activation(expected)
        bound = bound + 4 * 2 * U  # both activations here have slopes and values of at most 1, within 4 ulp
    assert (np.abs(y - expected) <= bound).all()


def test_units_balance_eight_threads(isa: Isa) -> None:
    for outputs in (1000, 4096, 4000, 21841):
        kernel = Dense(1, 2048, outputs, isa)
        assert -(-kernel.units // 8) * 8 <= 1.25 * kernel.units, outputs


def test_refuses_nothing_to_do(isa: Isa) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Dense(1, 0, 5, isa)
