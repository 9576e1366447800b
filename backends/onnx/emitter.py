"""The ONNX graph under construction: tensor names, initializers, nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cnnir.errors import CnnirError
from cnnir.ir import Array, DType, Graph, TensorType, Value

BATCH_NAME = "N"
"""What the symbolic batch size is called in the file."""


class Emitter:
    """Names every tensor once and collects nodes.

    Graph inputs and outputs keep their names; other tensors keep theirs unless they are taken.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._names: dict[Value, str] = {}
        self._numbers: dict[tuple[DType, float], str] = {}
        self._node_names: set[str] = set()
        self._taken: set[str] = {v.name for v in graph.inputs}
        for value in graph.inputs:
            self._names[value] = value.name
        for name, value in graph.outputs.items():
            if name in self._taken and self._names.get(value) != name:
                raise CnnirError(
                    f"'{name}' names an input and another output of '{graph.name}'; ONNX allows one tensor."
                )
            self._taken.add(name)
        for name, value in graph.outputs.items():
            if value.producer is not None:
                self._names.setdefault(value, name)

    def fresh(self, base: str) -> str:
        """`base`, or `base_1`, ...: a tensor name that nothing has yet."""
        name, i = base, 0
        while name in self._taken:
            i += 1
            name = f"{base}_{i}"
        self._taken.add(name)
        return name

    def tensor(self, value: Value) -> str:
        """The tensor of a value; a constant becomes an initializer when it is first asked for."""
        if value not in self._names:
            self._names[value] = self.fresh(value.name)
            if value.data is not None:
                self.initializers.append(_proto(value.data.numpy(), self._names[value]))
        return self._names[value]

    def inputs(self, values: Sequence[Value | None]) -> list[str]:
        """The tensors of a node's inputs; a missing one is an empty name, none at the end."""
        names = ["" if v is None else self.tensor(v) for v in values]
        while names and not names[-1]:
            names.pop()
        return names

    def constant(self, array: Array, base: str) -> str:
        """A tensor that the graph does not have as a value: a shape, bounds, axes."""
        name = self.fresh(base)
        self.initializers.append(_proto(array, name))
        return name

    def integers(self, values: Sequence[int], base: str) -> str:
        return self.constant(np.asarray(values, np.int64), base)

    def number(self, x: float, dtype: DType) -> str:
        """A scalar of that type, shared by all who want the same."""
        key = (dtype, x)
        if key not in self._numbers:
            self._numbers[key] = self.constant(np.asarray(x, dtype.numpy), f"{x:g}")
        return self._numbers[key]

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        name: str,
        attributes: Mapping[str, object] | None = None,
        origins: Sequence[str] = (),
        further: Sequence[str] = (),
    ) -> str:
        """Adds a node and returns its first output; `further` are the others."""
        unique, i = name, 0
        while unique in self._node_names:
            i += 1
            unique = f"{name}_{i}"
        self._node_names.add(unique)
        proto = helper.make_node(op, list(inputs), [output, *further], name=unique, **(attributes or {}))
        if tuple(origins) not in ((), (name,)):
            proto.metadata_props.add(key="origins", value=", ".join(origins))
        self.nodes.append(proto)
        return output


def _proto(array: Array, name: str) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def tensor_info(name: str, type: TensorType) -> Any:
    """The `ValueInfoProto` of an input or output."""
    shape = [BATCH_NAME if d < 0 else d for d in type.shape]
    return helper.make_tensor_value_info(name, element_type(type.dtype), shape)


def element_type(dtype: DType) -> int:
    """ONNX's number of an element type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy))
