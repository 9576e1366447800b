"""Element-wise activations: one table of formulas, used by the operators and by every epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType
from cnnir.ir.registry import register


class ActivationKind(StrEnum):
    """The formulas; ONNX operator in brackets where its name differs."""

    RELU = "relu"
    CLIP = "clip"  # alpha = lower bound, beta = upper bound (ReLU6 is clip(0, 6))
    LEAKY_RELU = "leaky_relu"  # alpha = slope below zero
    ELU = "elu"  # alpha = scale below zero
    SIGMOID = "sigmoid"
    TANH = "tanh"
    HARD_SIGMOID = "hard_sigmoid"  # alpha = slope, beta = offset
    HARD_SWISH = "hard_swish"
    SILU = "silu"  # [Swish]
    GELU = "gelu"  # exact, with erf
    EXP = "exp"
    SQRT = "sqrt"
    NEG = "neg"
    ABS = "abs"


@dataclass(frozen=True, slots=True)
class Activation:
    """A formula with its constants, as data: what an epilogue carries."""

    kind: ActivationKind
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        """Applies the formula in the precision of `x`."""
        y: Array = _FORMULAS[self.kind](x, self.alpha, self.beta)
        return y.astype(x.dtype, copy=False)

    @property
    def keeps_zero(self) -> bool:
        """Whether zero maps to zero, so that zero padding stays zero."""
        return bool(self(np.zeros(1))[0] == 0.0)


def _expit(x: Array) -> Array:
    # Imported when first needed: SciPy takes as long to load as the rest of the IR.
    from scipy.special import expit

    return np.asarray(expit(x))


def _erf(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(x))


_FORMULAS: dict[ActivationKind, Callable[[Array, float, float], Array]] = {
    ActivationKind.RELU: lambda x, a, b: np.maximum(x, 0),
    ActivationKind.CLIP: lambda x, a, b: np.clip(x, a, b),
    ActivationKind.LEAKY_RELU: lambda x, a, b: np.where(x < 0, a * x, x),
    ActivationKind.ELU: lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    ActivationKind.SIGMOID: lambda x, a, b: _expit(x),
    ActivationKind.TANH: lambda x, a, b: np.tanh(x),
    ActivationKind.HARD_SIGMOID: lambda x, a, b: np.clip(a * x + b, 0, 1),
    ActivationKind.HARD_SWISH: lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
    ActivationKind.SILU: lambda x, a, b: x * _expit(x),
    ActivationKind.GELU: lambda x, a, b: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    ActivationKind.EXP: lambda x, a, b: np.exp(x),
    ActivationKind.SQRT: lambda x, a, b: np.sqrt(x),
    ActivationKind.NEG: lambda x, a, b: -x,
    ActivationKind.ABS: lambda x, a, b: np.abs(x),
}


@dataclass(frozen=True)
class NoAttrs(Attrs):
    """For operators without attributes."""


@dataclass(frozen=True)
class AlphaAttrs(Attrs):
    alpha: float = 0.01


@dataclass(frozen=True)
class EluAttrs(Attrs):
    alpha: float = 1.0


@dataclass(frozen=True)
class ClipAttrs(Attrs):
    min: float = -math.inf
    max: float = math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.min) or math.isnan(self.max) or self.min > self.max:
            raise ShapeError(f"Clip needs min <= max, got {self.min} and {self.max}.")


@dataclass(frozen=True)
class HardSigmoidAttrs(Attrs):
    alpha: float = 0.2
    beta: float = 0.5


class UnaryOperator(Operator[Any]):
    """An element-wise operator of one input: `activation()` says which formula it is."""

    ports: ClassVar[tuple[Port, ...]] = (Port("x"),)
    attrs_type: type[Attrs] = NoAttrs
    kind: ClassVar[ActivationKind]
    cases: ClassVar[tuple[Attrs, ...]]

    def activation(self, attrs: Attrs) -> Activation:
        """The formula with the constants that `attrs` holds, in the order of its fields."""
        return Activation(self.kind, *(getattr(attrs, f.name) for f in fields(attrs)))

    def infer(self, attrs: Attrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (x,) = inputs
        assert x is not None
        return (x,)

    def reference(self, attrs: Attrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (self.activation(attrs)(x),)

    def cost(self, attrs: Attrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        return Cost(flops=outputs[0].size)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[Any]]:
        for attrs in self.cases:
            for shape in ((1, 3, 5, 7), (2, 16, 4, 4), (2, 10)):
                x = rng.normal(0, 3, shape).astype(np.float32)
                yield Sample(attrs, (np.abs(x) if self.kind == ActivationKind.SQRT else x,))


def _unary(operator_name: str, activation: ActivationKind, *sampled: Attrs) -> UnaryOperator:
    """The operator; `sampled` are the attributes of its samples, and tell the attributes' type."""

    class Unary(UnaryOperator):
        name = operator_name
        kind = activation
        cases = sampled or (NoAttrs(),)
        attrs_type = type(cases[0])

    Unary.__name__ = operator_name
    return register(Unary)


RELU = _unary("Relu", ActivationKind.RELU)
CLIP = _unary("Clip", ActivationKind.CLIP, ClipAttrs(0.0, 6.0), ClipAttrs(min=-1.5), ClipAttrs())
LEAKY_RELU = _unary("LeakyRelu", ActivationKind.LEAKY_RELU, AlphaAttrs(), AlphaAttrs(0.3))
ELU = _unary("Elu", ActivationKind.ELU, EluAttrs(), EluAttrs(0.5))
SIGMOID = _unary("Sigmoid", ActivationKind.SIGMOID)
TANH = _unary("Tanh", ActivationKind.TANH)
HARD_SIGMOID = _unary("HardSigmoid", ActivationKind.HARD_SIGMOID, HardSigmoidAttrs(), HardSigmoidAttrs(1 / 6, 0.5))
HARD_SWISH = _unary("HardSwish", ActivationKind.HARD_SWISH)
SILU = _unary("Swish", ActivationKind.SILU)
GELU = _unary("Gelu", ActivationKind.GELU)
EXP = _unary("Exp", ActivationKind.EXP)
SQRT = _unary("Sqrt", ActivationKind.SQRT)
NEG = _unary("Neg", ActivationKind.NEG)
ABS = _unary("Abs", ActivationKind.ABS)


def activation_of(op: Operator[Any], attrs: Attrs) -> Activation | None:
    """The activation that a node computes, or `None` when it is not an element-wise unary operator."""
    return op.activation(attrs) if isinstance(op, UnaryOperator) else None
