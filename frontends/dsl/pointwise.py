"""Layers that keep the shape (activations, normalisation, dropout) or only rearrange it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import integer, number
from cnnir.frontends.dsl.builder import Call
from cnnir.frontends.dsl.init import ONES, ZEROS, Constant, Initializer
from cnnir.frontends.dsl.layer import Layer
from cnnir.frontends.dsl.tensor import Tensor
from cnnir.ops import activation as act
from cnnir.ops.elementwise import PRELU
from cnnir.ops.normalization import BATCH_NORM, LRN, BatchNormAttrs, LrnAttrs
from cnnir.ops.reduce import SOFTMAX, SoftmaxAttrs
from cnnir.ops.shape import DROPOUT, FLATTEN, PAD, RESHAPE, DropoutAttrs, FlattenAttrs, PadAttrs, ReshapeAttrs

QUARTER = Constant(0.25)


@dataclass(frozen=True, eq=False)
class ReLU(Layer):
    """max(x, 0)."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.RELU, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class Clip(Layer):
    """x bounded by `low` and `high`."""

    low: float = -math.inf
    high: float = math.inf

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.CLIP, act.ClipAttrs(self.low, self.high), x)


@dataclass(frozen=True, eq=False)
class ReLU6(Layer):
    """x bounded by 0 and 6."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.CLIP, act.ClipAttrs(0.0, 6.0), x)


@dataclass(frozen=True, eq=False)
class LeakyReLU(Layer):
    """x above zero, `slope` times x below."""

    slope: float = 0.01

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.LEAKY_RELU, act.AlphaAttrs(number(self.slope, "slope", self.loc)), x)


@dataclass(frozen=True, eq=False)
class PReLU(Layer):
    """x above zero, a learned multiple of x below: `weight` has one slope in all, or one a channel."""

    per_channel: bool = False
    init: Initializer = QUARTER

    def apply(self, call: Call, x: Tensor) -> Tensor:
        window = (1,) * (len(x.shape) - 2)
        slope = call.parameter("weight", (x.channels if self.per_channel else 1, *window), self.init)
        return call.emit(PRELU, act.NoAttrs(), x, slope)


@dataclass(frozen=True, eq=False)
class ELU(Layer):
    """x above zero, `alpha * (exp(x) - 1)` below."""

    alpha: float = 1.0

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.ELU, act.EluAttrs(number(self.alpha, "alpha", self.loc)), x)


@dataclass(frozen=True, eq=False)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.SIGMOID, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class Tanh(Layer):
    """Hyperbolic tangent."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.TANH, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class Abs(Layer):
    """The absolute value."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.ABS, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class HardSigmoid(Layer):
    """`slope * x + offset` bounded by 0 and 1; MobileNet v3's slope of 1/6 unless given (ONNX's is 0.2)."""

    slope: float = 1 / 6
    offset: float = 0.5

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.HARD_SIGMOID, act.HardSigmoidAttrs(self.slope, self.offset), x)


@dataclass(frozen=True, eq=False)
class HardSwish(Layer):
    """x * hard_sigmoid(x) with slope 1/6."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.HARD_SWISH, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class SiLU(Layer):
    """x * sigmoid(x), also called Swish."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.SILU, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class GELU(Layer):
    """x times the normal distribution's cumulative probability at x (exact, with erf)."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(act.GELU, act.NoAttrs(), x)


@dataclass(frozen=True, eq=False)
class Softmax(Layer):
    """exp(x) / sum of exp(x) along `axis`."""

    axis: int = -1

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(SOFTMAX, SoftmaxAttrs(self.axis), x)


@dataclass(frozen=True, eq=False)
class BatchNorm(Layer):
    """Batch normalisation with running statistics, a channel (axis 1).

    Parameters: `weight` (gamma, drawn by `gamma`) and `bias`; statistics: `running_mean`, `running_var`; all `[C]`.
    """

    epsilon: float = 1e-5
    gamma: Initializer = ONES

    def apply(self, call: Call, x: Tensor) -> Tensor:
        shape = (x.channels,)
        return call.emit(
            BATCH_NORM,
            BatchNormAttrs(number(self.epsilon, "epsilon", self.loc)),
            x,
            call.parameter("weight", shape, self.gamma),
            call.parameter("bias", shape, ZEROS),
            call.parameter("running_mean", shape, ZEROS),
            call.parameter("running_var", shape, ONES),
        )


@dataclass(frozen=True, eq=False)
class LocalResponseNorm(Layer):
    """Normalisation across `size` neighbouring channels: `x / (k + alpha / size * sum of squares) ** beta`.

    Krizhevsky et al. 2012, section 3.3, whose alpha is not divided by `size`.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def check(self) -> None:
        integer(self.size, "size", self.loc)

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(LRN, LrnAttrs(self.size, self.alpha, self.beta, self.k), x)


@dataclass(frozen=True, eq=False)
class Dropout(Layer):
    """Drops a share `ratio` of the elements in training; nothing at inference."""

    ratio: float = 0.5

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(DROPOUT, DropoutAttrs(number(self.ratio, "ratio", self.loc)), x)


@dataclass(frozen=True, eq=False)
class Identity(Layer):
    """Nothing: a place in a stack's numbering."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """`[N, ...]` -> `[N, K]`."""

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(FLATTEN, FlattenAttrs(1), x)


@dataclass(frozen=True, eq=False)
class Reshape(Layer):
    """`[N, ...]` -> `[N, *shape]`; one -1 takes what is left."""

    shape: Sequence[int]

    def check(self) -> None:
        if isinstance(self.shape, str) or not isinstance(self.shape, Sequence) or 0 in self.shape:
            raise CnnirError(
                f"Expected 'shape' to be the dimensions without the batch, got {self.shape!r}.", at=self.loc
            )

    def apply(self, call: Call, x: Tensor) -> Tensor:
        return call.emit(RESHAPE, ReshapeAttrs((0, *self.shape)), x)


@dataclass(frozen=True, eq=False)
class Pad(Layer):
    """Surrounds an image with one value: `padding` (top, left, bottom, right) and `channels` (before, after)."""

    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    channels: tuple[int, int] = (0, 0)
    value: float = 0.0

    def apply(self, call: Call, x: Tensor) -> Tensor:
        top, left, bottom, right = self.padding
        before, after = self.channels
        return call.emit(PAD, PadAttrs((0, before, top, left, 0, after, bottom, right), self.value), x)
