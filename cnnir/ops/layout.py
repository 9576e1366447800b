"""Changing how a tensor lies in memory: inserted by backends, never seen by a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Attrs, Operator, Port, Sample, TensorType
from cnnir.ir.registry import register


@dataclass(frozen=True)
class ReorderAttrs(Attrs):
    """None: the layout is the output type's."""


class Reorder(Operator[ReorderAttrs]):
    """The identity whose output has another layout, given by `Node(..., layouts=[...])`. ONNX has none such."""

    name = "Reorder"
    ports: ClassVar = (Port("x"),)
    attrs_type = ReorderAttrs

    def infer(self, attrs: ReorderAttrs, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (x,) = inputs
        assert x is not None
        return (x,)

    def reference(self, attrs: ReorderAttrs, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        (x,) = inputs
        assert x is not None
        return (x,)

    def samples(self, rng: np.random.Generator) -> Iterator[Sample[ReorderAttrs]]:
        for shape in ((1, 16, 4, 5), (2, 3, 7, 6)):
            yield Sample(ReorderAttrs(), (rng.standard_normal(shape, dtype=np.float32),))


REORDER = register(Reorder)
