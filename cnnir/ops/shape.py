"""Operators that move or select elements without computing: reshaping, slicing, joining, padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cnnir.errors import ShapeError
from cnnir.ir import BATCH, Array, Attrs, DType, Operator, Port, Sample, TensorType, Window
from cnnir.ir.registry import register
from cnnir.ops.activation import NoAttrs
from cnnir.ops.axes import (
    Shape,
    check_distinct,
    normal_axes,
    normal_axis,
    product,
    refuse_batch,
    same_dtype,
    shape_text,
    whole_plane,
    window_along,
)


class _OneInput(Operator[Any]):
    """Takes `x` and gives the elements of `x` another shape; subclasses compute the shape."""

    ports: ClassVar[tuple[Port, ...]] = (Port("x"),)

    def shape(self, attrs: Any, x: TensorType) -> Shape:
        raise NotImplementedError

    def infer(self, attrs: Any, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (x,) = inputs
        assert x is not None
        return (TensorType(x.dtype, self.shape(attrs, x)),)

    def reference(self, attrs: Any, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        (out,) = self.infer(attrs, [_type_of(x)])
        return (x.reshape(out.shape),)

    def window(self, attrs: Any, inputs: Sequence[TensorType | None]) -> Window | None:
        (x,) = inputs
        assert x is not None
        after = self.shape(attrs, x)
        return None if len(after) >= 4 and after[-2:] == x.shape[-2:] else whole_plane(x)


def _type_of(x: Array) -> TensorType:
    return TensorType(DType.of(x.dtype), x.shape)


def _random(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


class _SameShape(_OneInput):
    def shape(self, attrs: Any, x: TensorType) -> Shape:
        return x.shape

    def window(self, attrs: Any, inputs: Sequence[TensorType | None]) -> Window | None:
        return None


class Identity(_SameShape):
    """ONNX `Identity`."""

    name = "Identity"
    attrs_type = NoAttrs

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[NoAttrs]]:
        yield Sample(NoAttrs(), (_random(rng, 2, 3, 4, 5),))


@dataclass(frozen=True)
class DropoutAttrs(Attrs):
    """`ratio` is the share of elements dropped in training."""

    ratio: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ShapeError(f"Expected a dropout ratio between 0 and 1, got {self.ratio}.")


class Dropout(_SameShape):
    """ONNX `Dropout` at inference, where it is the identity."""

    name = "Dropout"
    attrs_type = DropoutAttrs

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[DropoutAttrs]]:
        yield Sample(DropoutAttrs(0.3), (_random(rng, 2, 10),))


@dataclass(frozen=True)
class FlattenAttrs(Attrs):
    """The first `axis` dimensions become the rows, the others the columns; a negative axis counts from the end."""

    axis: int = 1


class Flatten(_OneInput):
    """ONNX `Flatten`: always two dimensions."""

    name = "Flatten"
    attrs_type = FlattenAttrs

    def shape(self, attrs: FlattenAttrs, x: TensorType) -> Shape:
        if not -x.rank <= attrs.axis <= x.rank:
            raise ShapeError(f"'Flatten' names axis {attrs.axis}, but the input has {x.rank} dimensions.")
        axis = attrs.axis % x.rank if attrs.axis < 0 else attrs.axis
        if x.is_static:
            return product(x.shape[:axis]), product(x.shape[axis:])
        if axis == 0 or product(x.shape[1:axis]) != 1:
            raise ShapeError(
                f"'Flatten' at axis {axis} would mix the unknown batch size N of {x} with other dimensions."
            )
        return BATCH, product(x.shape[axis:])

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[FlattenAttrs]]:
        yield Sample(FlattenAttrs(), (_random(rng, 2, 16, 3, 4),))
        yield Sample(FlattenAttrs(), (_random(rng, 1, 33, 1, 1),))
        yield Sample(FlattenAttrs(3), (_random(rng, 2, 3, 4, 5),))
        yield Sample(FlattenAttrs(-1), (_random(rng, 2, 3, 4),))
        yield Sample(FlattenAttrs(0), (_random(rng, 2, 3),))


@dataclass(frozen=True)
class ReshapeAttrs(Attrs):
    """In `shape`, 0 copies the dimension of the input at that place and one -1 takes what is left."""

    shape: Shape

    def __post_init__(self) -> None:
        if self.shape.count(-1) > 1:
            raise ShapeError(f"A reshape can leave one dimension (-1) open, got {list(self.shape)}.")
        if any(d < -1 for d in self.shape):
            raise ShapeError(f"Expected dimensions of at least -1, got {list(self.shape)}.")


class Reshape(_OneInput):
    """ONNX `Reshape` (`allowzero=0`) with a constant shape.

    An unknown batch size stays on axis 0: the shape must begin with 0 (copied), or with a -1 that stands for it.
    """

    name = "Reshape"
    attrs_type = ReshapeAttrs

    def shape(self, attrs: ReshapeAttrs, x: TensorType) -> Shape:
        dims = list(attrs.shape)
        for i, d in enumerate(dims):
            if d == 0:
                if i >= x.rank:
                    raise ShapeError(f"Reshape to {dims} copies dimension {i}, which {x} does not have.")
                dims[i] = x.shape[i]
        if x.is_static:
            return self._fill(dims, x.shape, x)
        # -1 first stands for the batch: either copied by a 0, or left open and found to be it.
        if not dims or dims[0] != BATCH:
            raise ShapeError(
                f"Reshape of {x} to {list(attrs.shape)} needs a known batch size.",
                hints=["Begin the shape with 0 to keep the batch."],
            )
        return (BATCH, *self._fill(dims[1:], x.shape[1:], x))

    @staticmethod
    def _fill(dims: list[int], source: Shape, x: TensorType) -> Shape:
        total, known = product(source), product([d for d in dims if d != -1])
        fits = known and total % known == 0 if -1 in dims else total == known
        if not fits:
            raise ShapeError(f"{total} elements of {x} do not fit into the shape {shape_text(dims)}.")
        return tuple(total // known if d == -1 else d for d in dims)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[ReshapeAttrs]]:
        yield Sample(ReshapeAttrs((0, -1)), (_random(rng, 2, 16, 3, 4),))
        yield Sample(ReshapeAttrs((-1, 48)), (_random(rng, 2, 3, 4, 4),))
        yield Sample(ReshapeAttrs((0, 2, 4, 0, 5)), (_random(rng, 1, 8, 3, 5, 1)[..., 0].reshape(1, 8, 5, 3),))
        yield Sample(ReshapeAttrs((2, 3, 1, 1)), (_random(rng, 2, 3),))


@dataclass(frozen=True)
class TransposeAttrs(Attrs):
    """Axis `i` of the output is axis `perm[i]` of the input."""

    perm: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.perm) != list(range(len(self.perm))):
            raise ShapeError(f"Expected a permutation of the axes, got {list(self.perm)}.")


class Transpose(_OneInput):
    """ONNX `Transpose`. An unknown batch size must stay on axis 0."""

    name = "Transpose"
    attrs_type = TransposeAttrs

    def shape(self, attrs: TransposeAttrs, x: TensorType) -> Shape:
        if len(attrs.perm) != x.rank:
            raise ShapeError(f"Expected a permutation of {x.rank} axes for {x}, got {list(attrs.perm)}.")
        if attrs.perm and attrs.perm[0] != 0 and not x.is_static:
            raise ShapeError(f"Transposing {x} by {list(attrs.perm)} would move the unknown batch size off axis 0.")
        return tuple(x.shape[p] for p in attrs.perm)

    def reference(self, attrs: TransposeAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (x.transpose(attrs.perm),)

    def window(self, attrs: TransposeAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        (x,) = inputs
        assert x is not None
        return None if attrs.perm[-2:] == (x.rank - 2, x.rank - 1) else whole_plane(x)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[TransposeAttrs]]:
        yield Sample(TransposeAttrs((0, 2, 3, 1)), (_random(rng, 2, 5, 3, 4),))
        yield Sample(TransposeAttrs((0, 3, 1, 2)), (_random(rng, 1, 6, 7, 3),))
        yield Sample(TransposeAttrs((0, 2, 1, 3, 4)), (_random(rng, 1, 2, 4, 3, 3),))
        yield Sample(TransposeAttrs((1, 0)), (_random(rng, 3, 5),))


@dataclass(frozen=True)
class ConcatAttrs(Attrs):
    axis: int = 1


class Concat(Operator[ConcatAttrs]):
    """ONNX `Concat`: joins one or more tensors along an axis; all other dimensions are equal."""

    name = "Concat"
    ports: ClassVar = (Port("inputs", variadic=True),)
    attrs_type = ConcatAttrs

    def infer(self, attrs: ConcatAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        present = [x for x in inputs if x is not None]
        if len(present) != len(inputs) or not present:
            raise ShapeError("'Concat' needs every one of its inputs.")
        first = present[0]
        axis = normal_axis(attrs.axis, first.rank, self.name)
        same_dtype(self.name, *present)
        for x in present:
            refuse_batch(x, axis, "'Concat' along")
            if x.rank != first.rank or any(
                a != b for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis
            ):
                raise ShapeError(f"'Concat' along axis {axis} cannot join {first} and {x}.")
        shape = list(first.shape)
        shape[axis] = sum(x.shape[axis] for x in present)
        return (TensorType(first.dtype, tuple(shape)),)

    def reference(self, attrs: ConcatAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        return (np.concatenate([x for x in inputs if x is not None], axis=attrs.axis),)

    def window(self, attrs: ConcatAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        # Joined along the height or width, a pixel's position no longer tells where it comes from.
        largest = max((x for x in inputs if x is not None), key=lambda x: x.shape)
        return window_along(largest, [normal_axis(attrs.axis, largest.rank, self.name)])

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[ConcatAttrs]]:
        yield Sample(ConcatAttrs(), (_random(rng, 2, 16, 3, 4), _random(rng, 2, 32, 3, 4)))
        yield Sample(ConcatAttrs(), tuple(_random(rng, 1, c, 5, 5) for c in (3, 5, 17)))
        yield Sample(ConcatAttrs(-1), (_random(rng, 2, 3, 4, 5), _random(rng, 2, 3, 4, 2)))
        yield Sample(ConcatAttrs(), (_random(rng, 3, 4),))


@dataclass(frozen=True)
class SliceAttrs(Attrs):
    """One entry an axis; bounds are clamped to the axis and count from its end if negative, as in Python."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.axes) == len(self.starts) == len(self.ends) == len(self.steps):
            raise ShapeError(
                f"Expected as many starts, ends and steps as axes, got {len(self.starts)}, {len(self.ends)}, "
                f"{len(self.steps)} for {len(self.axes)} axes."
            )
        check_distinct(self.axes, "axes")
        if 0 in self.steps:
            raise ShapeError("A slice cannot step by 0.")


class Slice(_OneInput):
    """ONNX `Slice` with constant bounds."""

    name = "Slice"
    attrs_type = SliceAttrs

    @staticmethod
    def _slices(attrs: SliceAttrs, rank: int) -> tuple[slice, ...]:
        normal_axes(attrs.axes, rank, "Slice")
        cuts = [slice(None)] * rank
        for axis, start, end, step in zip(attrs.axes, attrs.starts, attrs.ends, attrs.steps, strict=True):
            cuts[axis] = slice(start, end, step)
        return tuple(cuts)

    def shape(self, attrs: SliceAttrs, x: TensorType) -> Shape:
        shape = list(x.shape)
        for i, cut in enumerate(self._slices(attrs, x.rank)):
            if cut == slice(None):
                continue
            refuse_batch(x, i, "'Slice' along")
            shape[i] = len(range(*cut.indices(x.shape[i])))
            if shape[i] == 0:
                raise ShapeError(f"The slice {cut.start}:{cut.stop}:{cut.step} leaves nothing of axis {i} of {x}.")
        return tuple(shape)

    def reference(self, attrs: SliceAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (x[self._slices(attrs, x.ndim)],)

    def window(self, attrs: SliceAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        (x,) = inputs
        assert x is not None
        if x.rank < 4:
            return None
        start, step = [0, 0], [1, 1]
        for i, cut in enumerate(self._slices(attrs, x.rank)[-2:]):
            start[i], _, step[i] = cut.indices(x.shape[i - 2])
        if min(step) < 0:
            return whole_plane(x)
        return (
            None
            if start == [0, 0] and step == [1, 1]
            else Window((1, 1), (step[0], step[1]), pads=(-start[0], -start[1]))
        )

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[SliceAttrs]]:
        yield Sample(SliceAttrs((1,), (2,), (5,), (1,)), (_random(rng, 2, 8, 3, 4),))
        yield Sample(SliceAttrs((2, 3), (1, 0), (2**31 - 1, -1), (2, 1)), (_random(rng, 1, 3, 7, 6),))
        yield Sample(SliceAttrs((-1,), (-1,), (-(2**31),), (-2,)), (_random(rng, 2, 7),))


@dataclass(frozen=True)
class PadAttrs(Attrs):
    """`pads` counts elements: before every axis first, then after every axis."""

    pads: tuple[int, ...]
    value: float = 0.0

    def __post_init__(self) -> None:
        if len(self.pads) % 2 or any(p < 0 for p in self.pads):
            raise ShapeError(f"Expected two pads of at least 0 for every axis, got {list(self.pads)}.")


class Pad(_OneInput):
    """ONNX `Pad` in mode `constant`."""

    name = "Pad"
    attrs_type = PadAttrs

    def shape(self, attrs: PadAttrs, x: TensorType) -> Shape:
        if len(attrs.pads) != 2 * x.rank:
            raise ShapeError(f"Expected {2 * x.rank} pads for {x}, got {len(attrs.pads)}.")
        added = [a + b for a, b in zip(attrs.pads[: x.rank], attrs.pads[x.rank :], strict=True)]
        if any(added[:1]):
            refuse_batch(x, 0, "'Pad' of")
        return tuple(d + a if a else d for d, a in zip(x.shape, added, strict=True))

    def reference(self, attrs: PadAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        width = list(zip(attrs.pads[: x.ndim], attrs.pads[x.ndim :], strict=True))
        return (np.pad(x, width, constant_values=attrs.value),)

    def window(self, attrs: PadAttrs, inputs: Sequence[TensorType | None]) -> Window | None:
        (x,) = inputs
        assert x is not None
        if x.rank < 4 or not any(attrs.pads[x.rank - 2 : x.rank]):
            return None
        return Window((1, 1), pads=(attrs.pads[x.rank - 2], attrs.pads[x.rank - 1]))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[PadAttrs]]:
        yield Sample(PadAttrs((0, 0, 1, 2, 0, 0, 3, 0)), (_random(rng, 2, 3, 4, 5),))
        yield Sample(PadAttrs((0, 2, 0, 0, 0, 3, 0, 0), -1.5), (_random(rng, 1, 16, 3, 3),))
        yield Sample(PadAttrs((0, 1, 0, 1)), (_random(rng, 2, 3),))


@dataclass(frozen=True)
class AxesAttrs(Attrs):
    """Axes of the larger of the two tensors; negative ones count from its end."""

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        check_distinct(self.axes, "axes")


class Squeeze(_OneInput):
    """ONNX `Squeeze`: drops axes of length 1."""

    name = "Squeeze"
    attrs_type = AxesAttrs

    def shape(self, attrs: AxesAttrs, x: TensorType) -> Shape:
        axes = normal_axes(attrs.axes, x.rank, self.name)
        refuse_batch(x, axes[0], "'Squeeze' of")
        for axis in axes:
            if x.shape[axis] != 1:
                raise ShapeError(f"'Squeeze' needs axis {axis} of {x} to have length 1, got {x.shape[axis]}.")
        return tuple(d for i, d in enumerate(x.shape) if i not in axes)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[AxesAttrs]]:
        yield Sample(AxesAttrs((2, 3)), (_random(rng, 2, 16, 1, 1),))
        yield Sample(AxesAttrs((-1,)), (_random(rng, 2, 3, 1),))


class Unsqueeze(_OneInput):
    """ONNX `Unsqueeze`: inserts axes of length 1, numbered as in the output."""

    name = "Unsqueeze"
    attrs_type = AxesAttrs

    def shape(self, attrs: AxesAttrs, x: TensorType) -> Shape:
        rank = x.rank + len(attrs.axes)
        axes = normal_axes(attrs.axes, rank, self.name)
        refuse_batch(x, axes[0], "'Unsqueeze' before")
        rest = iter(x.shape)
        return tuple(1 if i in axes else next(rest) for i in range(rank))

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[AxesAttrs]]:
        yield Sample(AxesAttrs((2, 3)), (_random(rng, 2, 16),))
        yield Sample(AxesAttrs((-1,)), (_random(rng, 2, 3),))


IDENTITY = register(Identity)
DROPOUT = register(Dropout)
FLATTEN = register(Flatten)
RESHAPE = register(Reshape)
TRANSPOSE = register(Transpose)
CONCAT = register(Concat)
SLICE = register(Slice)
PAD = register(Pad)
SQUEEZE = register(Squeeze)
UNSQUEEZE = register(Unsqueeze)

VIEWS: frozenset[Operator[Any]] = frozenset({IDENTITY, DROPOUT, FLATTEN, RESHAPE, SQUEEZE, UNSQUEEZE})
"""The operators whose output is the memory of their input under another shape: they move no bytes."""
