"""Graphs written as text, random networks, and the comparison that every pass has to stand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import cnnir.ops
from cnnir.backends.reference import run
from cnnir.ir import BATCH, Array, ArrayData, DType, Graph, Node, TensorData, TensorType, Value
from cnnir.ir.text import parse_graph, print_graph
from cnnir.ops import activation, conv, dense, elementwise, normalization, pool, reduce, shape
from cnnir.passes.manager import PassManager, PassRecord
from cnnir.passes.pipeline import parse_pipeline

assert cnnir.ops
_CONST = re.compile(r"^const %(\S+): (\w+)\[([\d,]*)\]", re.MULTILINE)


@dataclass
class Rewritten:
    """A graph after a pipeline, the records, and a copy from before."""

    before: Graph
    graph: Graph
    records: list[PassRecord]

    @property
    def text(self) -> str:
        return Lab.text(self.graph)

    @property
    def rewrote(self) -> list[str]:
        return [str(remark) for record in self.records for remark in record.rewrote]

    @property
    def declined(self) -> list[str]:
        return [str(remark) for record in self.records for remark in record.declined]

    def constant(self, name: str) -> Array:
        return next(v for v in self.graph.constants() if v.name == name).data.numpy()  # type: ignore[union-attr]


class Lab:
    """Runs pipelines on graphs written as text; constants are drawn from the normal distribution unless given."""

    @staticmethod
    def graph(text: str, constants: Mapping[str, Any] | None = None, seed: int = 0) -> Graph:
        rng = np.random.default_rng(seed)
        text = f'cnnir 1\ngraph "test"\n{dedent(text).strip()}\n'
        weights: dict[str, TensorData] = {}
        for name, dtype, dims in _CONST.findall(text):
            sizes = tuple(int(d) for d in dims.split(",") if d)
            array = rng.normal(0, 1, sizes)
            if name.endswith("var"):
                array = 0.5 + np.abs(array)
            if constants and name in constants:
                array = np.broadcast_to(np.asarray(constants[name]), sizes)
            weights[name] = ArrayData(np.ascontiguousarray(array).astype(DType(dtype).numpy).reshape(sizes))
        return parse_graph(text, weights)

    @staticmethod
    def text(graph: Graph) -> str:
        return print_graph(graph).split("\n", 2)[2].strip()

    @staticmethod
    def outputs(graph: Graph, seed: int = 1) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        feeds = {v.name: rng.normal(0.3, 1, v.type.with_batch(2).shape) for v in graph.inputs}
        return run(graph, feeds)

    @staticmethod
    def compare(before: Mapping[str, Array], after: Mapping[str, Array], bound: float) -> None:
        """Every element within `bound` of the largest one of its output."""
        assert list(before) == list(after)
        for name, a in before.items():
            assert after[name].shape == a.shape
            scale = max(1e-6, float(np.abs(a).max()))
            np.testing.assert_allclose(after[name], a, rtol=0, atol=bound * scale, err_msg=name)

    def run(
        self,
        graph: Graph | str,
        pipeline: str,
        constants: Mapping[str, Any] | None = None,
        *,
        bound: float = 1e-9,
    ) -> Rewritten:
        """Runs the pipeline; the function must stay within `bound`, and a second run must find nothing to do."""
        if isinstance(graph, str):
            graph = self.graph(graph, constants)
        before = graph.clone()
        records = PassManager(parse_pipeline(pipeline)).run(graph)
        self.compare(self.outputs(before), self.outputs(graph), bound)
        text = print_graph(graph)
        again = PassManager(parse_pipeline(pipeline)).run(graph)
        assert not any(r.changed for r in again), again
        assert print_graph(graph) == text
        return Rewritten(before, graph, records)

    def becomes(
        self,
        before: str,
        pipeline: str,
        after: str,
        constants: Mapping[str, Any] | None = None,
        *,
        bound: float = 1e-9,
    ) -> Rewritten:
        """As `run`, and the text form of the result is `after`."""
        result = self.run(before, pipeline, constants, bound=bound)
        assert result.text.splitlines() == dedent(after).strip().splitlines()
        return result

    def refuses(
        self, graph: str, pipeline: str, reasons: Sequence[str], constants: Mapping[str, Any] | None = None
    ) -> None:
        """The pipeline changes nothing and gives exactly these remarks (`node: reason`)."""
        parsed = self.graph(graph, constants)
        text = print_graph(parsed)
        data = [v.data for v in parsed.constants()]
        records = PassManager(parse_pipeline(pipeline)).run(parsed)
        assert print_graph(parsed) == text
        assert all(a is v.data for a, v in zip(data, parsed.constants(), strict=True))
        assert [str(remark) for record in records for remark in record.declined] == list(reasons)


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


class _Draft:
    """A random network in the making: every drawn step adds a node over values that are there."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        size = draw(st.integers(3, 6))
        self.x = Value("x", TensorType(DType.F64, (BATCH, draw(st.integers(1, 4)), size, size)))
        self.nodes: list[Node] = []
        self.values: list[Value] = [self.x]
        self.weights: dict[tuple[int, ...], Value] = {}
        self.count = 0

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def const(self, *sizes: int, low: float = -1.0, high: float = 1.0) -> Value:
        self.count += 1
        return Value.constant(f"c{self.count}", ArrayData(np.asarray(self.rng.uniform(low, high, sizes))))

    def weight(self, *sizes: int) -> Value:
        """New, or one that another layer has already."""
        if sizes not in self.weights or not self.pick(True, False):
            self.weights[sizes] = self.const(*sizes)
        return self.weights[sizes]

    def add(self, op: Any, attrs: Any, *inputs: Value | None) -> Value:
        self.count += 1
        node = Node(op, attrs, inputs, name=f"{op.name.lower()}{self.count}")
        self.nodes.append(node)
        if np.prod(node.output.type.shape[1:]) <= 400:
            self.values.append(node.output)
        return node.output

    def value(self, rank: int = 4) -> Value:
        fits = [v for v in self.values if v.type.rank == rank]
        # The latest is drawn most, so that chains form.
        return fits[-1] if self.pick(True, True, False) else self.pick(*fits)

    def sizes(self, x: Value, *, odd: bool = False) -> tuple[tuple[int, int], tuple[int, ...]]:
        k = (min(self.pick(1, 2, 3), x.type.shape[2]), min(self.pick(1, 2, 3), x.type.shape[3]))
        pads = self.pick(False, True)
        return k, (k[0] // 2, k[1] // 2, (k[0] - 1) // 2, (k[1] - 1) // 2) if pads else (0, 0, 0, 0)

    # -- steps

    def conv(self) -> None:
        x = self.value()
        c = x.type.shape[1]
        k, pads = self.sizes(x)
        groups = self.pick(1, c)
        o = groups * self.pick(1, 2)
        w = self.weight(o, c // groups, *k)
        bias = self.const(o) if self.pick(True, False) else None
        self.add(conv.CONV, conv.ConvAttrs(k, self.pick((1, 1), (2, 1)), pads, groups=groups), x, w, bias, None)

    def batch_norm(self) -> None:
        x = self.value(self.pick(*{v.type.rank for v in self.values}))
        c = x.type.shape[1]
        params = [self.const(c), self.const(c), self.const(c), self.const(c, low=0.5, high=2)]
        self.add(normalization.BATCH_NORM, normalization.BatchNormAttrs(), x, *params)

    def activate(self) -> None:
        x = self.value(self.pick(*{v.type.rank for v in self.values}))
        op, attrs = self.pick(
            (activation.RELU, activation.NoAttrs()),
            (activation.SIGMOID, activation.NoAttrs()),
            (activation.CLIP, activation.ClipAttrs(0, 6)),
            (activation.CLIP, activation.ClipAttrs(0)),
            (activation.NEG, activation.NoAttrs()),
        )
        y = self.add(op, attrs, x)
        if op is activation.SIGMOID and self.pick(True, False):
            self.add(elementwise.MUL, elementwise.BinaryAttrs(), *self.pick((x, y), (y, x)))

    def affine(self) -> None:
        x = self.value(self.pick(*{v.type.rank for v in self.values}))
        c = x.type.shape[1]
        plane = (1,) * (x.type.rank - 2)
        constant = self.const(*self.pick((), (c, *plane), (1, c, *plane)), low=0.5, high=2)
        if self.pick(False, False, True):
            constant = Value.constant(constant.name, ArrayData(np.full(constant.type.shape, self.pick(0.0, 1.0))))
        op = self.pick(elementwise.ADD, elementwise.SUB, elementwise.MUL)
        if op is elementwise.MUL or np.all(constant.data.numpy() != 0):  # type: ignore[union-attr]
            op = self.pick(op, elementwise.DIV)
        inputs = (x, constant) if op is elementwise.DIV else self.pick((x, constant), (constant, x))
        if op is not elementwise.DIV or np.all(constant.data.numpy() != 0):  # type: ignore[union-attr]
            self.add(op, elementwise.BinaryAttrs(), *inputs)

    def combine(self) -> None:
        a = self.value(self.pick(*{v.type.rank for v in self.values}))
        fits = [v for v in self.values if v.type == a.type]
        op = self.pick(elementwise.ADD, elementwise.ADD, elementwise.MUL, elementwise.MAX)
        self.add(op, elementwise.BinaryAttrs(), a, self.pick(*fits))

    def block(self) -> None:
        x = self.value()
        c, k = x.type.shape[1], self.pick((1, 1), (3, 3))
        pads = (k[0] // 2,) * 4
        y = self.add(conv.CONV, conv.ConvAttrs(k, pads=pads), x, self.weight(c, c, *k), None, None)
        self.add(elementwise.ADD, elementwise.BinaryAttrs(), *self.pick((x, y), (y, x), (y, y)))

    def pools(self) -> None:
        x = self.value()
        k, pads = self.sizes(x)
        if self.pick(True, False):
            self.add(pool.MAX_POOL, pool.PoolAttrs(k, self.pick((1, 1), (2, 2)), pads), x)
        else:
            attrs = pool.AveragePoolAttrs(k, (1, 1), pads, count_include_pad=self.pick(True, False))
            self.add(pool.AVERAGE_POOL, attrs, x)

    def pad(self) -> None:
        t, left, b, r = self.pick((1, 1, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0), (2, 0, 0, 1))
        value = self.pick(0.0, 0.0, 0.5)
        self.add(shape.PAD, shape.PadAttrs((0, 0, t, left, 0, 0, b, r), value), self.value())

    def move(self) -> None:
        x = self.value()
        step = self.pick("identity", "dropout", "transpose", "reshape", "slice", "concat")
        if step == "identity":
            self.add(shape.IDENTITY, activation.NoAttrs(), x)
        elif step == "dropout":
            self.add(shape.DROPOUT, shape.DropoutAttrs(), x)
        elif step == "transpose":
            self.add(shape.TRANSPOSE, shape.TransposeAttrs(self.pick((0, 1, 3, 2), (0, 2, 3, 1), (0, 1, 2, 3))), x)
        elif step == "reshape":
            self.add(shape.RESHAPE, shape.ReshapeAttrs((0, 0, 0, 0)), x)
        elif step == "slice":
            start, end, step = self.pick((0, 2**31, 1), (2**31, -(2**31), -1))
            self.add(shape.SLICE, shape.SliceAttrs((2,), (start,), (end,), (step,)), x)
        else:
            fits = [v for v in self.values if v.type == x.type]
            self.add(shape.CONCAT, shape.ConcatAttrs(), *self.pick((x,), (x, self.pick(*fits))))

    def head(self) -> None:
        x = self.value()
        if self.pick(True, False):
            x = self.add(reduce.REDUCE_MEAN, reduce.ReduceAttrs((2, 3), keepdims=self.pick(True, False)), x)
        if x.type.rank == 4:
            x = self.add(shape.RESHAPE, shape.ReshapeAttrs((0, -1)), x)
        k = x.type.shape[1]
        if k <= 64:
            bias = self.const(3) if self.pick(True, False) else None
            self.add(dense.DENSE, dense.DenseAttrs(), x, self.weight(3, k), bias)

    def constants(self) -> None:
        x = self.value()
        c = x.type.shape[1]
        folded = self.add(elementwise.ADD, elementwise.BinaryAttrs(), self.const(c, 1, 1), self.const(c, 1, 1))
        self.values.remove(folded)
        self.add(elementwise.MUL, elementwise.BinaryAttrs(), x, folded)

    def twin(self) -> None:
        if self.nodes:
            node = self.pick(*self.nodes[-6:])
            if node.output in self.values:
                self.add(node.op, node.attrs, *node.inputs)


@st.composite
def _networks(draw: Any) -> Graph:
    draft = _Draft(draw)
    steps = [
        *(draft.conv, draft.conv, draft.conv, draft.batch_norm, draft.batch_norm, draft.activate, draft.affine),
        *(draft.affine, draft.combine, draft.pools, draft.pad, draft.move, draft.head, draft.constants, draft.twin),
        *(draft.block, draft.block),
    ]
    for i in draw(st.lists(st.integers(0, len(steps) - 1), min_size=1, max_size=14)):
        steps[i]()
    made = [v for v in draft.values if v.producer is not None] or [
        draft.add(shape.IDENTITY, activation.NoAttrs(), draft.x)
    ]
    outputs = {"y": made[-1]}
    for i, value in enumerate(made[:-1]):
        if draw(st.integers(0, 7)) == 0:
            outputs[f"middle{i}"] = value
    graph = Graph("random", [draft.x], outputs, draft.nodes)
    graph.verify()
    return graph


@pytest.fixture(scope="session")
def networks() -> st.SearchStrategy[Graph]:
    """Small random DAGs in float64: shared weights, several readers, outputs in the middle, dead nodes."""
    return _networks()
