"""Runs a graph node by node on NumPy arrays, in float64 unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import DTypeLike

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.ir import BATCH, Array, DType, Graph, Node, Value
from cnnir.ops.axes import shape_text

Tap = Callable[[Node, Sequence[Array]], None]
"""Called after every node with its outputs; must not change them."""


class Interpreter:
    """Gives a graph its meaning: every operator by its own `reference`, every value in the precision `dtype`.

    Floating point constants are cast once, when the interpreter is made; integers stay what they are.
    Layouts are ignored: they never change semantics. A value is freed after its last reader.

    Args:
        graph: must not be rewritten while the interpreter is in use.
        dtype: floating point type of all arithmetic.
    """

    def __init__(self, graph: Graph, dtype: DTypeLike = np.float64) -> None:
        self.graph = graph
        self.dtype = np.dtype(dtype)
        self._constants = {v: self._cast(v.data.numpy()) for v in graph.constants() if v.data is not None}
        last = {v: node for node in graph.nodes for v in node.inputs if v is not None and v not in self._constants}
        self._dying: dict[Node, list[Value]] = {}
        for value, node in last.items():
            self._dying.setdefault(node, []).append(value)

    def run(
        self, feeds: Mapping[str, Array], *, tap: Tap | None = None, keep: Collection[str] = ()
    ) -> dict[str, Array]:
        """The outputs by their names in the graph.

        Args:
            feeds: one array a graph input, by name; a symbolic batch size is taken from them and is one for all.
            tap: called after every node, in order.
            keep: names of further values to return, beside the outputs.

        Raises:
            CnnirError: a feed is missing, unknown, or of the wrong shape or kind of element.
        """
        values = self._feed(feeds)
        known = {v.name: v for v in self.graph.values()}
        for name in keep:
            if name not in known:
                raise UnknownNameError("value", name, known)
        held = {known[name] for name in keep} | set(self.graph.outputs.values())
        # Values that nobody reads are freed at once, so the constants and feeds are all that outlives its use.
        for node in self.graph.nodes:
            outputs = node.op.reference(node.attrs, [None if v is None else values[v] for v in node.inputs])
            if tap is not None:
                tap(node, outputs)
            for value, array in zip(node.outputs, outputs, strict=True):
                if value.uses or value in held:
                    values[value] = array
            for value in self._dying.get(node, ()):
                if value not in held:
                    del values[value]
        wanted = {name: known[name] for name in keep} | self.graph.outputs
        return {name: values[value] for name, value in wanted.items()}

    def _cast(self, array: Array) -> Array:
        return array.astype(self.dtype, copy=False) if DType.of(array.dtype).is_float else array

    def _feed(self, feeds: Mapping[str, Array]) -> dict[Value, Array]:
        inputs = {v.name: v for v in self.graph.inputs}
        for name in feeds:
            if name not in inputs:
                raise UnknownNameError("input", name, inputs, at=f"graph '{self.graph.name}'")
        missing = [f"'{name}'" for name in inputs if name not in feeds]
        if missing:
            raise CnnirError(
                f"No array was given for {', '.join(missing)}.",
                at=f"graph '{self.graph.name}'",
                hints=[f"The inputs are {', '.join(map(str, self.graph.inputs))}."],
            )
        values = dict(self._constants)
        batch: tuple[str, int] | None = None
        for name, value in inputs.items():
            array = np.asarray(feeds[name])
            expected = value.type
            if not expected.is_static and array.shape[:1]:
                if batch is not None and array.shape[0] != batch[1]:
                    raise CnnirError(
                        f"Input '{name}' has a batch of {array.shape[0]}, but input '{batch[0]}' one of {batch[1]}."
                    )
                batch = batch or (name, array.shape[0])
                expected = expected.with_batch(array.shape[0])
            if array.shape != expected.shape:
                shape = shape_text(value.type.shape)
                raise CnnirError(
                    f"Input '{name}': expected shape {shape}, got {shape_text(array.shape)}.",
                    notes=["N is any batch size."] if value.type.shape[:1] == (BATCH,) else (),
                )
            got = DType.of(array.dtype)
            # Any floating point precision will do: it is cast. An integer for a float is a forgotten scaling.
            if got != expected.dtype and not (got.is_float and expected.dtype.is_float):
                raise CnnirError(
                    f"Input '{name}': expected elements of type {expected.dtype}, got {got}.",
                    hints=[f"Convert it with `.astype('{expected.dtype.numpy}')`."],
                )
            values[value] = self._cast(array)
        return values


def run(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of `graph` by name, computed in float64. See `Interpreter.run`."""
    return Interpreter(graph).run(feeds)
