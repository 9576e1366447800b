"""Rewriting of equal spellings into one, so that later passes and backends have fewer to know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnir.errors import ShapeError
from cnnir.ir import Graph, Node, Operator, Value
from cnnir.ops.activation import CLIP, HARD_SIGMOID, HARD_SWISH, RELU, SIGMOID, SILU, NoAttrs
from cnnir.ops.axes import normal_axes
from cnnir.ops.elementwise import MUL, BinaryAttrs
from cnnir.ops.pool import AVERAGE_POOL, GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL, MAX_POOL, PoolAttrs
from cnnir.ops.reduce import REDUCE_MAX, REDUCE_MEAN, ReduceAttrs
from cnnir.ops.shape import FLATTEN, RESHAPE, SQUEEZE, TRANSPOSE, FlattenAttrs
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.facts import moves_nothing
from cnnir.passes.pattern import Anything, Apply, Match, Miss, Rule, apply_rules, match
from cnnir.passes.registry import register

_GLOBAL: dict[Operator[Any], Operator[Any]] = {
    REDUCE_MEAN: GLOBAL_AVERAGE_POOL,
    AVERAGE_POOL: GLOBAL_AVERAGE_POOL,
    REDUCE_MAX: GLOBAL_MAX_POOL,
    MAX_POOL: GLOBAL_MAX_POOL,
}


class _ReduceToGlobalPool(Rule):
    """`ReduceMean` or `ReduceMax` over the image to a global pooling, and `Flatten` without `keepdims`."""

    pattern = Apply("reduce", (REDUCE_MEAN, REDUCE_MAX), (Anything("x"),))
    subject = "reduce"

    def check(self, found: Match, edit: Editor) -> str | None:
        attrs, x = found.root.attrs, found.values["x"]
        assert isinstance(attrs, ReduceAttrs)
        axes = normal_axes(attrs.axes, x.type.rank, found.root.op.name)
        if x.type.rank != 4 or axes != (2, 3):
            return f"reduces axes {list(axes)} of {x.type}, not height and width"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        root = found.root
        assert isinstance(root.attrs, ReduceAttrs)
        pool = _GLOBAL[root.op]
        if root.attrs.keepdims:
            edit.replace(root, pool, NoAttrs(), root.inputs)
            return f"is {pool.name}"
        pooled = edit.insert(root, pool, NoAttrs(), root.inputs, f"{root.name}.pool")
        edit.replace(root, FLATTEN, FlattenAttrs(1), [pooled.output])
        return f"is {pool.name}, then Flatten"


class _WindowToGlobalPool(Rule):
    """`AveragePool` or `MaxPool` whose one window is the whole image to a global pooling."""

    pattern = Apply("pool", (AVERAGE_POOL, MAX_POOL), (Anything("x"),))
    subject = "pool"

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        found = match(self.pattern, node, edit)
        attrs = node.attrs
        if isinstance(found, Match) and isinstance(attrs, PoolAttrs):
            whole = attrs.kernel_size == found.values["x"].type.shape[2:] and not any(attrs.pads)
            if not whole or node.output.type.shape[2:] != (1, 1) or attrs.dilation != (1, 1):
                return Miss("its window is not the whole image", Match(node))
        return found

    def check(self, found: Match, edit: Editor) -> str | None:
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        pool = _GLOBAL[found.root.op]
        edit.replace(found.root, pool, NoAttrs(), found.root.inputs)
        return f"is {pool.name}"


class _ToFlatten(Rule):
    """`Reshape` or `Squeeze` that leaves `[N, everything else]` to `Flatten`."""

    pattern = Apply("shape", (RESHAPE, SQUEEZE), (Anything("x"),))
    subject = "shape"

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        found = match(self.pattern, node, edit)
        if isinstance(found, Match) and not _flattens(found.values["x"], node):
            return Miss("is no Flatten", Match(node))
        return found

    def check(self, found: Match, edit: Editor) -> str | None:
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        edit.replace(found.root, FLATTEN, FlattenAttrs(1), found.root.inputs)
        return "is Flatten"


class _FlattenOfTranspose(Rule):
    """`Flatten(Transpose(x))` to `Flatten(x)` where the transposition moves axes of length 1 only."""

    subject = "flatten"

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        return (FLATTEN,)

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        # The transposition may have other readers: they keep it.
        found = Match(node, {"flatten": node})
        transpose = node.inputs[0].producer if node.inputs[0] is not None else None
        if transpose is None or TRANSPOSE.of(transpose) is None:
            return Miss("reads no Transpose", Match(node))
        found.nodes["transpose"] = transpose
        return found

    def check(self, found: Match, edit: Editor) -> str | None:
        transpose = found.nodes["transpose"]
        attrs, x = TRANSPOSE.of(transpose), transpose.inputs[0]
        assert attrs is not None and x is not None
        if not moves_nothing(attrs.perm, x.type.shape):
            return f"'{transpose.name}' before it moves elements of {x.type}"
        if not _flattens(x, found.root):
            return f"{x.type} flattens to another shape than {found.root.output.type}"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        transpose = found.nodes["transpose"]
        name = transpose.name
        value = transpose.output
        edit.replace(found.root, FLATTEN, FlattenAttrs(1), transpose.inputs)
        edit.erase_unread(value)
        return f"reads past '{name}', which moves nothing"


class _ClipToRelu(Rule):
    """`Clip(0, infinity)` to `Relu`."""

    pattern = Apply("clip", (CLIP,), (Anything("x"),))
    subject = "clip"

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        attrs = CLIP.of(node)
        if attrs is None or (attrs.min, attrs.max) != (0.0, math.inf):
            return Miss("is no Relu", Match(node))
        return match(self.pattern, node, edit)

    def check(self, found: Match, edit: Editor) -> str | None:
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        edit.replace(found.root, RELU, NoAttrs(), found.root.inputs)
        return "is Relu"


class _GateToActivation(Rule):
    """`Mul(x, Sigmoid(x))` to `Swish`, `Mul(x, HardSigmoid(x, 1/6, 1/2))` to `HardSwish`."""

    pattern = Apply("mul", (MUL,), (Anything("x"), Apply("gate", (SIGMOID, HARD_SIGMOID))), commutative=True)
    subject = "mul"

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        found = match(self.pattern, node, edit)
        if isinstance(found, Match) and found.nodes["gate"].inputs[0] is not found.values["x"]:
            return Miss("gates another value", Match(node))  # squeeze and excitation
        return found

    def check(self, found: Match, edit: Editor) -> str | None:
        attrs = HARD_SIGMOID.of(found.nodes["gate"])
        # Files store 1/6 in single precision.
        if attrs is not None and not (math.isclose(attrs.alpha, 1 / 6, rel_tol=1e-7) and attrs.beta == 0.5):
            return (
                f"'{found.nodes['gate'].name}' has slope {attrs.alpha:g} and offset {attrs.beta:g}, not 1/6 and 1/2"
            )
        if isinstance(found.root.attrs, BinaryAttrs) and found.root.attrs.activation is not None:
            return "carries an activation"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        gate = found.nodes["gate"]
        op = SILU if gate.op is SIGMOID else HARD_SWISH
        edit.replace(found.root, op, NoAttrs(), [found.values["x"]], absorbed=(gate,))
        return f"is {op.name}"


@register
@dataclass(frozen=True)
class Canonicalize(Pass):
    """Gives things that are the same one spelling.

    Given:  ReduceMean or ReduceMax over height and width; AveragePool or MaxPool over the whole image
    Result: GlobalAveragePool or GlobalMaxPool (and Flatten where the axes are dropped)

    Given:  Reshape or Squeeze to [N, everything else]; Flatten of a Transpose that moves axes of length 1 only
    Result: Flatten

    Given:  Clip(0, infinity); x * Sigmoid(x); x * HardSigmoid(x, 1/6, 1/2)
    Result: Relu; Swish; HardSwish
    """

    name: ClassVar[str] = "canonicalize"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        rules = (
            _ReduceToGlobalPool(),
            _WindowToGlobalPool(),
            _ToFlatten(),
            _FlattenOfTranspose(),
            _ClipToRelu(),
            _GateToActivation(),
        )
        apply_rules(graph, rules, report)


def _flattens(x: Value, node: Node) -> bool:
    """Whether `Flatten(x)` has the type of the output of `node`."""
    if x.type.rank < 2:
        return False
    try:
        (flat,) = FLATTEN.infer(FlattenAttrs(1), [x.type])
    except ShapeError:
        return False
    return flat == node.output.type
