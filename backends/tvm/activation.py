"""Activations as TVMScript vector expressions: branch-free, no calls of the C library, NaN and infinities kept.

Error bounds against the exact value of the formula, in units in the last place (ulp) of float32: exp 1, expm1
(ELU) 2, tanh 2, sigmoid and SiLU 3, GELU 8; everything else is one correctly rounded operation after another.
Polynomials are minimax fits of relative error (Lawson's iteration on Chebyshev bases); the table says over which
interval and how good they are before rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cnnir.ops.activation import Activation, ActivationKind

# (expm1(r) - r) / r^2 for |r| <= ln(2)/2: relative error of expm1 1.4e-8.
_EXPM1 = (0.4999999701976776, 0.16666539013385773, 0.04166722297668457, 0.008367180824279785, 0.0013882393250241876)
# (tanh(x)/x - 1) / x^2 in powers of x^2 for |x| <= 0.625: relative error of tanh 4.2e-9.
_TANH = (
    -0.3333328366279602,
    0.13331490755081177,
    -0.05374349281191826,
    0.020650574937462807,
    -0.005717032589018345,
)
_TANH_POLYNOMIAL_UP_TO = 0.625
# Q(y) exp(y^2/2) (y + 4) in powers of t = (y - 4)/(y + 4) for 0 <= y <= 14.5, Q the upper tail of the normal
# distribution: relative error 8.7e-9.
_NORMAL_TAIL = (
    0.7552851438522339,
    -0.6078965663909912,
    0.38713690638542175,
    -0.1865234375,
    0.06040383130311966,
    -0.007525269873440266,
    -0.003512553172186017,
    0.0015699208015576005,
    0.00017935162759386003,
    -0.00013197223597671837,
)
_NORMAL_TAIL_CENTRE = 4.0
_NORMAL_TAIL_END = 14.5  # beyond, the tail is below the smallest subnormal float32

# ln(2) in two parts; products of the first with integers below 2^9 are exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4


def expression(activation: Activation, x: str, lanes: int) -> str:
    """One TVMScript expression that applies `activation` to `x`, itself an expression of `lanes` float32 values.

    `x` is written several times (dozens for those built on the exponential): pass a name or a buffer element,
    and prefer `statements` in code that is unrolled.
    """
    return _apply(_Writer(lanes, None), activation, x)


def statements(activation: Activation, x: str, lanes: int, prefix: str) -> tuple[list[str], str]:
    """The same as `let` statements, which name each intermediate result `prefix0`, `prefix1`, ... once.

    Returns the lines (unindented, to be put before the use) and the final expression.
    """
    writer = _Writer(lanes, prefix)
    result = _apply(writer, activation, writer.let(x))
    return writer.lines, result


def is_cheap(activation: Activation | None) -> bool:
    """Whether the activation is a few instructions, so that it may sit in unrolled code."""
    return activation is None or activation.kind not in _EXPENSIVE


class _Writer:
    """Builds expressions of one vector width; with a prefix, `let` binds them to names."""

    def __init__(self, lanes: int, prefix: str | None) -> None:
        self.lanes = lanes
        self.prefix = prefix
        self.lines: list[str] = []

    def let(self, value: str) -> str:
        if self.prefix is None:
            return f"({value})"
        name = f"{self.prefix}{len(self.lines)}"
        self.lines.append(f"{name}: T.let = {value}")
        return name

    def constant(self, value: float) -> str:
        scalar = f"T.float32({value!r})"
        return scalar if self.lanes == 1 else f"T.broadcast({scalar}, {self.lanes})"

    def integer(self, value: int) -> str:
        scalar = f"T.int32({value})"
        return scalar if self.lanes == 1 else f"T.broadcast({scalar}, {self.lanes})"

    def dtype(self, kind: str) -> str:
        return f"'{kind}'" if self.lanes == 1 else f"'{kind}x{self.lanes}'"

    def select(self, condition: str, yes: str, no: str) -> str:
        return f"T.Select({condition}, {yes}, {no})"

    def at_least(self, x: str, bound: float) -> str:
        """max(x, bound) that keeps NaN: x86's instruction returns its second operand where either is NaN."""
        return f"T.max({self.constant(bound)}, {x})"

    def at_most(self, x: str, bound: float) -> str:
        """min(x, bound) that keeps NaN, see `at_least`."""
        return f"T.min({self.constant(bound)}, {x})"

    def fma(self, a: str, b: str, c: str) -> str:
        """a*b + c, certainly fused."""
        suffix = "f32" if self.lanes == 1 else f"v{self.lanes}f32"
        return f"T.call_llvm_pure_intrin('llvm.fma.{suffix}', {a}, {b}, {c}, dtype={self.dtype('float32')})"

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """Horner's rule, coefficients from the constant upwards."""
        *rest, value = (self.constant(c) for c in coefficients)
        for c in reversed(rest):
            value = f"({value} * {x} + {c})"
        return value

    def power_of_two(self, n: str) -> str:
        """2**n for a vector of int32 within -126..127."""
        bits = f"T.shift_left({n} + {self.integer(127)}, {self.integer(23)})"
        return f"T.reinterpret({bits}, dtype={self.dtype('float32')})"

    def reduced(self, x: str) -> tuple[str, str]:
        """`n` (float, integral) and expm1(r), where x = n ln(2) + r."""
        n = self.let(f"T.nearbyint({x} * {self.constant(1 / math.log(2))})")
        high = self.let(self.fma(n, self.constant(-_LN2_HIGH), x))
        r = self.let(self.fma(n, self.constant(-_LN2_LOW), high))
        return n, self.let(f"({self.polynomial(r, _EXPM1)} * ({r} * {r}) + {r})")

    def exp(self, x: str) -> str:
        # Past these bounds the result is infinite or zero; the scale in two factors reaches subnormal results.
        x = self.let(self.at_most(self.let(self.at_least(x, -104.0)), 89.0))
        n, p = self.reduced(x)
        whole = self.let(f"T.cast({n}, {self.dtype('int32')})")
        half = self.let(f"T.shift_right({whole}, {self.integer(1)})")
        first, second = self.power_of_two(half), self.power_of_two(f"({whole} - {half})")
        return self.let(f"({p} + {self.constant(1.0)}) * {first} * {second}")

    def expm1_nonpositive(self, x: str) -> str:
        """expm1(x) for x <= 0."""
        n, p = self.reduced(self.let(self.at_least(x, -80.0)))
        scale = self.let(self.power_of_two(f"T.cast({n}, {self.dtype('int32')})"))
        return self.let(f"{p} * {scale} + ({scale} - {self.constant(1.0)})")

    def sigmoid(self, x: str) -> str:
        one = self.constant(1.0)
        e = self.exp(self.let(f"{self.constant(0.0)} - T.abs({x})"))
        return self.let(f"{self.select(f'{x} < {self.constant(0.0)}', e, one)} / ({one} + {e})")

    def tanh(self, x: str) -> str:
        y = self.let(f"T.abs({x})")
        square = self.let(f"{x} * {x}")
        near = self.let(f"({self.polynomial(square, _TANH)} * {square}) * {x} + {x}")
        one, two = self.constant(1.0), self.constant(2.0)
        tail = self.let(f"{one} - {two} / ({self.exp(self.let(f'{y} + {y}'))} + {one})")
        far = self.select(f"{x} < {self.constant(0.0)}", f"{self.constant(0.0)} - {tail}", tail)
        return self.let(self.select(f"{y} < {self.constant(_TANH_POLYNOMIAL_UP_TO)}", near, far))

    def normal_cdf(self, x: str) -> str:
        """The distribution function of the standard normal, relative accuracy in both tails."""
        y = self.let(self.at_most(self.let(f"T.abs({x})"), _NORMAL_TAIL_END))
        square = self.let(f"{y} * {y}")
        # exp magnifies the rounding of the square, so the rounding error is computed and put back.
        lost = self.let(self.fma(y, y, f"({self.constant(0.0)} - {square})"))
        half = self.constant(-0.5)
        gauss = self.let(f"{self.exp(self.let(f'{square} * {half}'))} * ({lost} * {half} + {self.constant(1.0)})")
        shifted = self.let(f"{y} + {self.constant(_NORMAL_TAIL_CENTRE)}")
        t = self.let(f"({y} - {self.constant(_NORMAL_TAIL_CENTRE)}) / {shifted}")
        tail = self.let(f"{gauss} * {self.polynomial(t, _NORMAL_TAIL)} / {shifted}")
        return self.let(self.select(f"{x} < {self.constant(0.0)}", tail, f"{self.constant(1.0)} - {tail}"))


def _clip(w: _Writer, x: str, low: float, high: float) -> str:
    if low > -math.inf:
        x = w.let(w.at_least(x, low))
    return w.at_most(x, high) if high < math.inf else x


def _leaky_relu(w: _Writer, x: str, alpha: float, beta: float) -> str:
    return w.select(f"{x} < {w.constant(0.0)}", f"{x} * {w.constant(alpha)}", x)


def _elu(w: _Writer, x: str, alpha: float, beta: float) -> str:
    # The exponential sees non-positive values only, NaN included.
    negative = w.expm1_nonpositive(w.let(w.at_most(x, 0.0)))
    return w.select(f"{x} < {w.constant(0.0)}", f"{negative} * {w.constant(alpha)}", x)


def _hard_sigmoid(w: _Writer, x: str, alpha: float, beta: float) -> str:
    return _clip(w, w.let(f"{x} * {w.constant(alpha)} + {w.constant(beta)}"), 0.0, 1.0)


def _hard_swish(w: _Writer, x: str, alpha: float, beta: float) -> str:
    # x + 3 is exact where the result is near zero.
    ramp = w.at_most(w.let(w.at_least(w.let(f"{x} + {w.constant(3.0)}"), 0.0)), 6.0)
    return f"{x} * ({ramp} * {w.constant(1 / 6)})"


def _gelu(w: _Writer, x: str, alpha: float, beta: float) -> str:
    # In the far tail the distribution function is taken as zero, so that -inf gives NaN as the formula does.
    tail = w.select(f"{x} < {w.constant(-_NORMAL_TAIL_END)}", w.constant(0.0), w.normal_cdf(x))
    return f"{x} * {tail}"


_FORMULAS: dict[ActivationKind, Callable[[_Writer, str, float, float], str]] = {
    ActivationKind.RELU: lambda w, x, a, b: w.at_least(x, 0.0),
    ActivationKind.CLIP: _clip,
    ActivationKind.LEAKY_RELU: _leaky_relu,
    ActivationKind.ELU: _elu,
    ActivationKind.SIGMOID: lambda w, x, a, b: w.sigmoid(x),
    ActivationKind.TANH: lambda w, x, a, b: w.tanh(x),
    ActivationKind.HARD_SIGMOID: _hard_sigmoid,
    ActivationKind.HARD_SWISH: _hard_swish,
    ActivationKind.SILU: lambda w, x, a, b: f"{x} * {w.sigmoid(x)}",
    ActivationKind.GELU: _gelu,
    ActivationKind.EXP: lambda w, x, a, b: w.exp(x),
    ActivationKind.SQRT: lambda w, x, a, b: f"T.sqrt({x})",
    ActivationKind.NEG: lambda w, x, a, b: f"{w.constant(0.0)} - {x}",
    ActivationKind.ABS: lambda w, x, a, b: f"T.abs({x})",
}

_EXPENSIVE = {
    ActivationKind.ELU,
    ActivationKind.SIGMOID,
    ActivationKind.TANH,
    ActivationKind.SILU,
    ActivationKind.GELU,
    ActivationKind.EXP,
    ActivationKind.SQRT,
}


def _apply(writer: _Writer, activation: Activation, x: str) -> str:
    return _FORMULAS[activation.kind](writer, x, activation.alpha, activation.beta)
