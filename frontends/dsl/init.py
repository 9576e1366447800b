"""Initialisation schemes, as data. A parameter's elements depend on the seed and its own name, nothing else."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np

from cnnir.ir import Array, DType, LazyData


@dataclass(frozen=True, slots=True)
class Fan:
    """How many products make one output (`fan_in`), and how many outputs one input takes part in (`fan_out`)."""

    fan_in: int
    fan_out: int

    @classmethod
    def of(cls, weight: tuple[int, ...]) -> Fan:
        """Of a weight `[O, I, ...window]`."""
        window = math.prod(weight[2:])
        return cls(max(1, weight[1] * window), max(1, weight[0] * window))


class Initializer(Protocol):
    """Draws the elements of one parameter."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Every element the same."""

    value: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        return np.full(shape, self.value, np.float32)


ZEROS = Constant(0.0)
ONES = Constant(1.0)


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution with mean 0."""

    std: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        return rng.standard_normal(shape, np.float32) * np.float32(self.std)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform in `[-bound, bound)`."""

    bound: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        return (rng.random(shape, np.float32) * 2 - 1) * np.float32(self.bound)


@dataclass(frozen=True, slots=True)
class HeNormal:
    """Keeps the variance through ReLUs, forwards (`fan_in`) or backwards (`fan_out`).

    He et al. 2015, Delving Deep into Rectifiers, arXiv 1502.01852, equations 10 and 14.
    """

    mode: Literal["fan_in", "fan_out"] = "fan_in"

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        n = fan.fan_in if self.mode == "fan_in" else fan.fan_out
        return Normal(math.sqrt(2 / n))(rng, shape, fan)


@dataclass(frozen=True, slots=True)
class XavierUniform:
    """The normalised initialisation of Glorot and Bengio 2010, equation 16."""

    gain: float = 1.0

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        return Uniform(self.gain * math.sqrt(6 / (fan.fan_in + fan.fan_out)))(rng, shape, fan)


@dataclass(frozen=True, slots=True)
class TorchUniform:
    """What PyTorch gives convolutions and dense layers unless told otherwise: uniform within 1/sqrt(fan_in)."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        return Uniform(1 / math.sqrt(fan.fan_in))(rng, shape, fan)


TORCH_UNIFORM = TorchUniform()


def lazy_parameter(seed: int, name: str, shape: tuple[int, ...], init: Initializer, fan: Fan) -> LazyData:
    """Elements drawn by `init` when first asked for; the order in which parameters are asked for is irrelevant."""
    return LazyData(shape, DType.F32, partial(_draw, seed, name, shape, init, fan))


def _draw(seed: int, name: str, shape: tuple[int, ...], init: Initializer, fan: Fan) -> Array:
    entropy = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest())
    return init(np.random.Generator(np.random.PCG64(entropy)), shape, fan)
