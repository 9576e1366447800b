"""Element-wise operators: on images row by row, on plain arrays with NumPy broadcasting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnir.backends.tvm.kernel import Argument, ImageBuffer, Kernel
from cnnir.backends.tvm.x86.isa import Isa
from cnnir.backends.tvm.x86.kernels.formula import Formula
from cnnir.backends.tvm.x86.kernels.nest import Nest, broadcast_strides, merge_axes
from cnnir.backends.tvm.x86.kernels.vector import Vector
from cnnir.ir import Array, DType


def pack_channels(values: Array, block: int) -> NDArray[np.float32]:
    """One value a channel `[C]` as the operand `per_channel(C, block)` of an `ImageMap`, zeros behind."""
    flat = np.asarray(values, np.float32).reshape(-1)
    return np.pad(flat, (0, -flat.size % block))


def per_channel(channels: int, block: int) -> ImageBuffer:
    """The buffer that `pack_channels` fills: an image of one pixel that broadcasts over batch, height and width."""
    return ImageBuffer(1, channels, 1, 1, block)


def affine_constants(
    scale: Array, bias: Array, mean: Array, var: Array, epsilon: float, block: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """ONNX `BatchNormalization` as `x * a + b`: packed `a` and `b`, computed in float64 from `[C]` arrays."""
    s, b, m, v = (np.asarray(array, np.float64) for array in (scale, bias, mean, var))
    a = s / np.sqrt(v + epsilon)
    return pack_channels(a, block), pack_channels(b - m * a, block)


@dataclass(frozen=True)
class ImageMap(Kernel):
    """`y = formula(operands)` on images of one block; halos may all differ.

    Each operand has the sizes of `y`, or 1 where it broadcasts. An operand of one channel where `y` has several
    may have any block; others have that of `y`. Padded channels of `y` are zero. Work units: rows of `y`.
    """

    template: ClassVar[str] = "x86/templates/image_map.py.j2"

    formula: Formula
    operands: tuple[ImageBuffer, ...]
    y: ImageBuffer

    def __post_init__(self) -> None:
        if len(self.operands) != self.formula.operands:
            raise ValueError(f"{self.formula} takes {self.formula.operands} operands, got {len(self.operands)}")
        y = self.y
        for o in self.operands:
            pairs = zip(_sizes(o), _sizes(y), strict=True)
            if any(a not in (1, b) for a, b in pairs) or (o.block != y.block and not self._one_channel(o)):
                raise ValueError(f"operand {o} does not broadcast to {y}")

    def _one_channel(self, operand: ImageBuffer) -> bool:
        return operand.channels == 1 and self.y.channels > 1

    @property
    def arguments(self) -> tuple[Argument, ...]:
        inputs = (Argument(f"x{i}", DType.F32, o.size) for i, o in enumerate(self.operands))
        return (*inputs, Argument("y", DType.F32, self.y.size, written=True))

    @property
    def units(self) -> int:
        return self.y.batch * self.y.blocks * self.y.rows

    @property
    def flops(self) -> int:
        return math.prod(_sizes(self.y)) * (1 + (self.formula.activation is not None))

    def _load(self, i: int, v: Vector) -> str:
        o, y = self.operands[i], self.y
        terms = [str(o.origin)]
        if o.batch > 1:
            terms.append(f"plane // {y.blocks} * {o.image_stride}")
        if o.channels > 1:
            terms.append(f"plane % {y.blocks} * {o.plane_stride}")
        if o.height > 1:
            terms.append(f"row * {o.row_stride}")
        if o.width > 1:
            terms.append(f"c * {o.block}")
        index = " + ".join(terms)
        return v.splat(f"x{i}[{index}]") if self._one_channel(o) else v.at(f"x{i}", index)

    def context(self) -> dict[str, Any]:
        y = self.y
        v = Vector(y.block)
        lines, value = self.formula.write([self._load(i, v) for i in range(len(self.operands))], v)
        # A broadcast scalar is not zero in padded channels, whatever the formula.
        safe = self.formula.keeps_zero and not any(self._one_channel(o) for o in self.operands)
        if y.channels % y.block and not safe:
            value = v.select(v.below(f"({y.channels} - plane % {y.blocks} * {y.block})"), value, v.zero)
        return {"v": v, "y": y, "lines": lines, "value": value}


@dataclass(frozen=True)
class PlainMap(Kernel):
    """`y = formula(operands)` on plain arrays; operands broadcast to `shape` as in NumPy."""

    template: ClassVar[str] = "x86/templates/plain_map.py.j2"

    formula: Formula
    operands: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    isa: Isa

    def __post_init__(self) -> None:
        if len(self.operands) != self.formula.operands:
            raise ValueError(f"{self.formula} takes {self.formula.operands} operands, got {len(self.operands)}")
        for operand in self.operands:
            broadcast_strides(operand, self.shape)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        inputs = (Argument(f"x{i}", DType.F32, math.prod(o)) for i, o in enumerate(self.operands))
        return (*inputs, Argument("y", DType.F32, math.prod(self.shape), written=True))

    def _nest(self) -> tuple[Nest, list[list[int]]]:
        shapes = (*self.operands, self.shape)
        strides = [broadcast_strides(shape, self.shape) for shape in shapes]
        sizes, merged, _ = merge_axes(self.shape, strides)
        return Nest.over(sizes, align=self.isa.lanes), merged

    @property
    def units(self) -> int:
        return self._nest()[0].units

    @property
    def flops(self) -> int:
        return math.prod(self.shape) * (1 + (self.formula.activation is not None))

    def context(self) -> dict[str, Any]:
        nest, strides = self._nest()
        v = Vector(self.isa.lanes)

        def body(tail: bool) -> tuple[list[str], str]:
            loads = []
            for i, operand in enumerate(strides[:-1]):
                index, buffer = nest.index(operand), f"x{i}"
                if operand[-1] == 0:
                    loads.append(v.splat(f"{buffer}[{index}]"))
                elif tail:
                    loads.append(v.load_first(buffer, f"{index} + at", "rest"))
                else:
                    loads.append(v.at(buffer, f"{index} + at"))
            return self.formula.write(loads, v)

        return {"v": v, "nest": nest, "target": nest.index(strides[-1]), "body": body(False), "tail": body(True)}


def _sizes(image: ImageBuffer) -> tuple[int, int, int, int]:
    return image.batch, image.channels, image.height, image.width
