"""Element-wise operators of two inputs with NumPy broadcasting, and ONNX `PRelu`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import Array, Attrs, Cost, Operator, Port, Sample, TensorType
from cnnir.ir.registry import register
from cnnir.ops.activation import Activation, ActivationKind, NoAttrs
from cnnir.ops.axes import broadcast, same_dtype


@dataclass(frozen=True)
class BinaryAttrs(Attrs):
    """`activation` is applied to the result."""

    activation: Activation | None = None


def _divide(a: Array, b: Array) -> Array:
    """ONNX `Div`: integers truncate towards zero."""
    if a.dtype.kind not in "iu":
        return np.true_divide(a, b)
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient, quotient)


class BinaryOperator(Operator[BinaryAttrs]):
    """An element-wise operator of two inputs, plus optional activation."""

    ports: ClassVar[tuple[Port, ...]] = (Port("a"), Port("b"))
    attrs_type = BinaryAttrs
    commutes: ClassVar[bool]

    def formula(self, a: Array, b: Array) -> Array:
        raise NotImplementedError

    def infer(self, attrs: BinaryAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        a, b = inputs
        assert a is not None and b is not None
        same_dtype(self.name, a, b)
        return (TensorType(a.dtype, broadcast(a, b, self.name)),)

    def reference(self, attrs: BinaryAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        a, b = inputs
        assert a is not None and b is not None
        y = self.formula(a, b).astype(a.dtype, copy=False)
        return (y if attrs.activation is None else attrs.activation(y),)

    def cost(self, attrs: BinaryAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        return Cost(flops=outputs[0].size * (1 + (attrs.activation is not None)))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[BinaryAttrs]]:
        relu = BinaryAttrs(Activation(ActivationKind.RELU))
        cases: tuple[tuple[tuple[int, ...], tuple[int, ...], BinaryAttrs], ...] = (
            ((1, 16, 5, 7), (1, 16, 5, 7), BinaryAttrs()),
            ((2, 5, 4, 4), (2, 5, 4, 4), relu),
            ((1, 16, 6, 6), (1, 16, 1, 1), BinaryAttrs()),
            ((2, 3, 4, 5), (3, 1, 1), relu),
            ((2, 3, 4, 5), (), BinaryAttrs()),
            ((2, 1, 4, 1), (2, 3, 1, 5), BinaryAttrs()),
            ((10,), (4, 10), BinaryAttrs()),
        )
        for a_shape, b_shape, attrs in cases:
            a = np.asarray(rng.standard_normal(a_shape), np.float32)
            b = np.asarray(rng.standard_normal(b_shape), np.float32)
            if self.name == "Div":
                b = np.asarray(np.copysign(np.abs(b) + 0.5, b), np.float32)
            elif self.name == "Pow":
                a = np.abs(a) + np.float32(0.1)
            yield Sample(attrs, (a, b))


def _binary(operator_name: str, of: Callable[[Array, Array], Array], *, commutative: bool) -> BinaryOperator:
    class Binary(BinaryOperator):
        name = operator_name
        commutes = commutative

        def formula(self, a: Array, b: Array) -> Array:
            return of(a, b)

    Binary.__name__ = operator_name
    return register(Binary)


ADD = _binary("Add", np.add, commutative=True)
SUB = _binary("Sub", np.subtract, commutative=False)
MUL = _binary("Mul", np.multiply, commutative=True)
DIV = _binary("Div", _divide, commutative=False)
MAX = _binary("Max", np.maximum, commutative=True)
MIN = _binary("Min", np.minimum, commutative=True)
POW = _binary("Pow", np.power, commutative=False)


class PRelu(Operator[NoAttrs]):
    """ONNX `PRelu`: `x` where it is at least 0, `slope * x` below; `slope` broadcasts to the shape of `x`."""

    name = "PRelu"
    ports: ClassVar = (Port("x"), Port("slope", parameter=True))
    attrs_type = NoAttrs

    def infer(self, attrs: NoAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, slope = inputs
        assert x is not None and slope is not None
        same_dtype(self.name, x, slope)
        if broadcast(x, slope, self.name) != x.shape:
            raise ShapeError(f"Expected a slope that broadcasts to {x}, got {slope}.")
        return (x,)

    def reference(self, attrs: NoAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        x, slope = inputs
        assert x is not None and slope is not None
        return (np.where(x < 0, slope * x, x).astype(x.dtype, copy=False),)

    def cost(self, attrs: NoAttrs, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> Cost:
        return Cost(flops=2 * outputs[0].size)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[NoAttrs]]:
        for shape, slope in (((1, 16, 4, 5), (16, 1, 1)), ((2, 3, 4, 4), (1,)), ((2, 7), (7,))):
            x = rng.standard_normal(shape, dtype=np.float32)
            yield Sample(NoAttrs(), (x, rng.uniform(0, 0.5, slope).astype(np.float32)))


PRELU = register(PRelu)
