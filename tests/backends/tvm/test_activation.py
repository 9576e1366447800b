"""Accuracy of the activation expressions, over all of float32's exponents and the special values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import erfc

from cnnir.backends.tvm.activation import expression, is_cheap, statements
from cnnir.backends.tvm.kernel import Argument, Kernel
from cnnir.ir import DType
from cnnir.ops.activation import Activation, ActivationKind

COUNT = 4096


@dataclass(frozen=True)
class ActivationKernel(Kernel):
    """Applies one activation to `COUNT` numbers: by statements to `y`, by one inline expression to `z`."""

    activation: Activation
    lanes: int
    inline: bool

    @property
    def arguments(self):
        names = ("x", "y", "z") if self.inline else ("x", "y")
        return tuple(Argument(name, DType.F32, COUNT, written=name != "x") for name in names)

    @property
    def units(self):
        return COUNT // self.lanes

    def render(self, name):
        at = f"T.ramp((lo + u) * {self.lanes}, 1, {self.lanes})" if self.lanes > 1 else "lo + u"
        pointers = ", ".join(f"{a.name}_: T.handle('float32')" for a in self.arguments)
        lines, result = statements(self.activation, f"x[{at}]", self.lanes, "e")
        return "\n".join(
            [
                " @T.prim_func(private=True, s_tir=True)",
                f" def {name}(lo: T.int32, hi: T.int32, {pointers}):",
                "  T.func_attr({'tirx.noalias': True})",
                *(f"  {a.name} = T.decl_buffer(({COUNT},), 'float32', data={a.name}_)" for a in self.arguments),
                "  for u in T.serial(hi - lo):",
                *(f"   {line}" for line in lines),
                f"   y[{at}] = {result}",
                *([f"   z[{at}] = {expression(self.activation, f'x[{at}]', self.lanes)}"] if self.inline else []),
            ]
        )


# Per kind: constants, largest error in ulp. Correctly rounded operations err by 1/2 ulp each.
PROMISED = {
    ActivationKind.RELU: ((), 0),
    ActivationKind.CLIP: ((-0.75, 3.5), 0),
    ActivationKind.LEAKY_RELU: ((0.125,), 0),
    ActivationKind.ELU: ((0.5,), 2),
    ActivationKind.SIGMOID: ((), 3),
    ActivationKind.TANH: ((), 2),
    ActivationKind.HARD_SIGMOID: ((0.25, 0.5), 1),
    ActivationKind.HARD_SWISH: ((), 3),
    ActivationKind.SILU: ((), 3),
    ActivationKind.GELU: ((), 8),
    ActivationKind.EXP: ((), 1),
    ActivationKind.SQRT: ((), 0.5),
    ActivationKind.NEG: ((), 0),
    ActivationKind.ABS: ((), 0),
}
ACTIVATIONS = [Activation(kind, *constants) for kind, (constants, _) in PROMISED.items()]


def arguments() -> np.ndarray:
    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, 1e-38, -1e-38, 1e-42, 0.625, -0.625, 88.72, 88.73, -87.4, -103.9, -104.1])
    spread = rng.choice([-1, 1], 1024) * 2.0 ** rng.uniform(-30, 12, 1024)
    x = np.concatenate([special, np.linspace(-16, 16, 2048), np.linspace(-110, 90, 600), spread])
    return np.concatenate([x, np.linspace(-3, 3, COUNT - x.size)]).astype(np.float32)


def exact(activation: Activation, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    # The plain formula loses the lower tail of GELU even in float64.
    return 0.5 * x * erfc(-x / np.sqrt(2)) if activation.kind == ActivationKind.GELU else activation(x)


@pytest.fixture(scope="module")
def built(run_kernel, isa):
    # Inline expressions of the long formulas take long to parse; one of them stands for all.
    kernels = {
        a: ActivationKernel(a, isa.lanes, is_cheap(a) or a.kind == ActivationKind.SIGMOID) for a in ACTIVATIONS
    }
    run_kernel.build(kernels.values(), isa)
    return lambda activation, x: run_kernel(kernels[activation], {"x": x}, isa)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.kind.value)
def test_accuracy(activation, built):
    x = np.abs(arguments()) if activation.kind == ActivationKind.SQRT else arguments()
    outputs = built(activation, x)
    with np.errstate(over="ignore"):
        expected = exact(activation, x)
        rounded = expected.astype(np.float32)
    ulp = np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, np.float32(1)))).astype(np.float64)
    for actual in outputs.values():
        assert np.array_equal(np.isinf(actual), np.isinf(rounded))
        finite = np.isfinite(rounded)
        # Products of subnormal numbers are off by multiples of the smallest one.
        error = np.maximum(np.abs(actual[finite] - expected[finite]) - 2.0**-142, 0) / ulp[finite]
        worst = error.argmax()
        limit = PROMISED[activation.kind][1]
        assert (error <= limit).all(), f"{error[worst]:.2f} ulp at {x[finite][worst]!r}"


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.kind.value)
def test_special_values(activation, built):
    x = np.zeros(COUNT, np.float32)
    x[:3] = (np.nan, np.inf, -np.inf)
    with np.errstate(invalid="ignore"):
        expected = activation(x.astype(np.float64))
    for actual in built(activation, x).values():
        np.testing.assert_array_equal(actual[:3], expected[:3].astype(np.float32))


def test_scalars(run_kernel, isa):
    silu = Activation(ActivationKind.SILU)
    x = np.linspace(-5, 5, COUNT, dtype=np.float32)
    y = run_kernel(ActivationKernel(silu, 1, False), {"x": x}, isa)["y"]
    np.testing.assert_allclose(y, silu(x.astype(np.float64)), rtol=4 * 2.0**-23)


def test_cheap_activations_are_those_without_transcendental_functions():
    assert is_cheap(None)
    assert is_cheap(Activation(ActivationKind.HARD_SWISH))
    assert not is_cheap(Activation(ActivationKind.GELU))
