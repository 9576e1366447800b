"""Parallel convolutions merged into one: RepVGG and ACNet at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Graph, LazyData, Node, Operator, Value
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.elementwise import ADD, BinaryAttrs
from cnnir.ops.normalization import BATCH_NORM
from cnnir.ops.spatial import Pads
from cnnir.passes.affine import Affine, LinearLayer, affine_of
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.pattern import Apply, Match, Miss, Rule, apply_rules
from cnnir.passes.registry import register
from cnnir.passes.surgery import float64


@register
@dataclass(frozen=True)
class MergeBranches(Pass):
    """Merges a sum of convolutions of the same value into one convolution.

    Given:  y = norm(Conv(x, w1)) + norm(Conv(x, w2)); one of them may be norm(x) or x
    Result: y = Conv(x, w1' + w2', b1' + b2'), each kernel at its place in the window that holds both

    `norm` is batch normalisation or nothing. Identity is a 1x1 kernel of the unit matrix. Strides and groups must
    be the same. Declined where the merged convolution would cost more than the branches together, as a 1x3 and a
    3x1 kernel do without a 3x3 one beside them. Sums of more branches merge pair by pair. Computed in float64 and
    rounded once, when somebody asks.
    """

    name: ClassVar[str] = "merge-branches"
    contract: ClassVar[Contract] = EXACT
    source: ClassVar[str] = "Ding et al. 2021, RepVGG, section 3.3; Ding et al. 2019, ACNet, section 3.3"

    def run(self, graph: Graph, report: Report) -> None:
        apply_rules(graph, (_Merge(),), report)


_POINT = ConvAttrs((1, 1))


@dataclass(frozen=True)
class _Branch:
    """`norm(Conv(x))`, or `norm(x)` where `conv` is `None`; `nodes` are what disappears."""

    x: Value
    conv: Node | None
    norms: tuple[Affine, ...]
    nodes: tuple[Node, ...]
    # Kept apart from the node, which is gone when somebody asks for the merged weight.
    weight: Value | None = None
    bias: Value | None = None
    attrs: ConvAttrs = _POINT

    def window(self, axis: int) -> tuple[int, int, int]:
        """First and last tap relative to the output pixel (before striding), and the distance of taps."""
        attrs = self.attrs
        k, d, p = attrs.kernel_size[axis], attrs.dilation[axis], attrs.pads[axis]
        return -p, -p + (k - 1) * d, d if k > 1 else 1

    def kernel(self, groups: int) -> tuple[Array, Array]:
        """Weight `[O, C/groups, KH, KW]` and bias `[O]` in float64, normalisation included."""
        if self.weight is None:
            channels = self.x.type.shape[1]
            inner = channels // groups
            weight = np.zeros((channels, inner, 1, 1))
            weight[np.arange(channels), np.arange(channels) % inner] = 1
            bias = np.zeros(channels)
        else:
            weight = float64(self.weight)
            bias = np.zeros(len(weight)) if self.bias is None else float64(self.bias)
        for norm in self.norms:
            weight = weight * norm.scale[:, None, None, None]
            bias = bias * norm.scale + norm.shift
        return weight, bias


class _Merge(Rule):
    pattern = Apply("sum", (ADD,))
    subject = "sum"
    near = 1

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        branches = _branches(node, edit)
        if branches is None:
            return Miss("is no sum of convolutions of one value", Match(node))
        return Match(node, {"sum": node})

    def check(self, found: Match, edit: Editor) -> str | None:
        branches = _branches(found.root, edit)
        assert branches is not None
        merged = _merged(branches, found.root)
        return merged if isinstance(merged, str) else None

    def rewrite(self, found: Match, edit: Editor) -> str:
        root = found.root
        branches = _branches(root, edit)
        assert branches is not None
        attrs = _merged(branches, root)
        assert not isinstance(attrs, str)
        first = next(b for b in branches if b.conv is not None)
        assert first.conv is not None
        old, named = first.conv.inputs[1], first.conv
        assert old is not None
        shape = (old.type.shape[0], old.type.shape[1], *attrs.kernel_size)
        dtype = old.type.dtype

        def weight() -> Array:
            total = np.zeros(shape)
            for branch in branches:
                kernel, _ = branch.kernel(attrs.groups)
                places = []
                for axis in (0, 1):
                    start, _, _ = branch.window(axis)
                    step = max(1, branch.attrs.dilation[axis] // attrs.dilation[axis])
                    at = (start + attrs.pads[axis]) // attrs.dilation[axis]
                    taps = kernel.shape[2 + axis]
                    places.append(slice(at, at + (taps - 1) * step + 1, step))
                total[:, :, places[0], places[1]] += kernel
            return total.astype(dtype.numpy)

        def bias() -> Array:
            total: Array = sum((b.kernel(attrs.groups)[1] for b in branches), np.zeros(shape[0]))
            return total.astype(dtype.numpy)

        users = [node for b in branches for node in b.nodes]
        new_weight = edit.constant(old, LazyData(shape, dtype, weight), users)
        has_bias = any(b.norms or b.bias is not None for b in branches)
        new_bias = None
        if has_bias:
            data = LazyData(shape[:1], dtype, bias)
            name = f"{named.name}.bias"
            new_bias = edit.constant(first.bias, data, users) if first.bias else edit.new_constant(name, data)
        absorbed = list(dict.fromkeys(users))
        what = " and ".join("the identity" if b.conv is None else f"'{b.conv.name}'" for b in branches)
        edit.replace(root, CONV, attrs, [first.x, new_weight, new_bias, None], absorbed=absorbed, named=named)
        return f"{what} merged into one convolution of {attrs.kernel_size[0]}x{attrs.kernel_size[1]}"


def _branches(node: Node, edit: Editor) -> tuple[_Branch, _Branch] | None:
    """The two branches, if they read the same value and one of them at least is a convolution."""
    a, b = node.inputs
    if a is None or b is None or a is b:
        return None
    operator: Operator[BinaryAttrs] = ADD
    attrs = operator.of(node)
    if attrs is None or attrs.activation is not None:
        return None
    # A branch that could be a convolution may also end before it: the identity of the convolution's output.
    for first in _readings(a, edit):
        for second in _readings(b, edit):
            if first.x is second.x and (first.conv or second.conv):
                return first, second
    return None


def _readings(value: Value, edit: Editor) -> list[_Branch]:
    norms: list[Affine] = []
    nodes: list[Node] = []
    while value.producer is not None and value.producer.op is BATCH_NORM and edit.shared(value) is None:
        affine = affine_of(value.producer)
        if isinstance(affine, str):
            break
        norms.insert(0, affine[0])
        nodes.append(value.producer)
        value = affine[1]
    found: list[_Branch] = []
    conv = value.producer
    if conv is not None and conv.op is CONV and edit.shared(value) is None:
        layer = LinearLayer(conv)
        if layer.cannot_absorb_after() is None:
            found.append(
                _Branch(layer.x, conv, tuple(norms), (*nodes, conv), layer.weight, layer.bias, _attrs(conv))
            )
    found.append(_Branch(value, None, tuple(norms), tuple(nodes)))
    return found


def _merged(branches: Sequence[_Branch], root: Node) -> ConvAttrs | str:
    """The attributes of the merged convolution, or why there is none."""
    convs = [b.conv for b in branches if b.conv is not None]
    first = _attrs(convs[0])
    channels, filters = branches[0].x.type.shape[1], root.output.type.shape[1]
    for conv in convs[1:]:
        attrs = _attrs(conv)
        if attrs.stride != first.stride:
            return f"'{convs[0].name}' and '{conv.name}' have different strides"
        if attrs.groups != first.groups:
            return f"'{convs[0].name}' and '{conv.name}' have different groups"
    shapes = {conv.output.type.shape for conv in convs}
    if shapes != {root.output.type.shape}:
        return "the branches are broadcast to one shape"
    if len(convs) < len(branches) and (first.stride != (1, 1) or branches[0].x.type != root.output.type):
        return "the identity has another shape than the convolution"
    if len({LinearLayer(c).weight.type.dtype for c in convs}) > 1:
        return "the branches have different element types"
    kernel, pads, dilation = [], [0, 0, 0, 0], []
    for axis in (0, 1):
        windows = [b.window(axis) for b in branches]
        steps = {d for start, end, d in windows if end > start}
        if len(steps) > 1:
            return "the branches have different dilations"
        step = steps.pop() if steps else 1
        start, end = min(w[0] for w in windows), max(w[1] for w in windows)
        if any((w[0] - start) % step for w in windows):
            return "the taps of the branches do not fall on one grid"
        kernel.append((end - start) // step + 1)
        dilation.append(step)
        pads[axis] = -start
        last = windows[next(i for i, b in enumerate(branches) if b.conv is convs[0])][1]
        pads[axis + 2] = first.pads[axis + 2] + end - last
    if min(pads) < 0:
        return "the windows of the branches do not overlap"
    cost = kernel[0] * kernel[1] * channels // first.groups * filters
    before = sum(LinearLayer(c).weight.type.size for c in convs)
    if cost > before:
        return f"a kernel of {kernel[0]}x{kernel[1]} would cost {cost / before:.3g} times what the branches cost"
    borders: Pads = (pads[0], pads[1], pads[2], pads[3])
    size = (kernel[0], kernel[1])
    return ConvAttrs(size, first.stride, borders, (dilation[0], dilation[1]), first.groups)


def _attrs(node: Node) -> ConvAttrs:
    attrs = CONV.of(node)
    assert attrs is not None
    return attrs
