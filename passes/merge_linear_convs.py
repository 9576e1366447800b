"""Convolutions with nothing between them merged: the inverse of a linear factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Graph, LazyData, Node
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.spatial import Pads
from cnnir.passes.affine import LinearLayer
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.pattern import Apply, Match, Rule, apply_rules
from cnnir.passes.registry import register
from cnnir.passes.surgery import conv_of, float64


@register
@dataclass(frozen=True)
class MergeLinearConvs(Pass):
    """Merges a convolution into the one after it, where nothing stands between them.

    Given:  y = Conv(Conv(x, w1, b1, stride s), w2, b2)
    Result: y = Conv(x, w, b)  with  w[o, c, s*j + i] = sum over m of w2[o, m, j] * w1[m, c, i],
            b = b2 + sum of w2 * b1

    Exact where the second does not pad, or the first is a 1x1 convolution without bias and padding: elsewhere the
    second pads the first's output with zeros, which no merged kernel does. Declined where the merged convolution
    would cost more than both, unless `grow` is set.
    """

    grow: bool = False

    name: ClassVar[str] = "merge-linear-convs"
    contract: ClassVar[Contract] = EXACT
    source: ClassVar[str] = "Jaderberg et al. 2014, section 2, read backwards"

    def run(self, graph: Graph, report: Report) -> None:
        apply_rules(graph, (_Merge(self.grow),), report)


class _Merge(Rule):
    pattern = Apply("second", (CONV,), (Apply("first", (CONV,)),))
    subject = "first"

    def __init__(self, grow: bool) -> None:
        self._grow = grow

    def check(self, found: Match, edit: Editor) -> str | None:
        first, second = LinearLayer(found.nodes["first"]), LinearLayer(found.root)
        if reason := first.cannot_absorb_after() or second.unfit():
            return reason
        if first.groups > 1 or second.groups > 1:
            return "one of the convolutions is grouped"
        if found.root.inputs[3] is first.node.output:
            return "is added as a residual, too"
        before, after = conv_of(first.node), conv_of(second.node)
        if any(after.pads):
            if before.kernel_size != (1, 1) or any(before.pads):
                return f"'{second.node.name}' pads its output with zeros"
            if first.bias is not None:
                return f"'{second.node.name}' pads with zeros, where the bias would not be"
        merged = _attrs(first.node, second.node)
        if isinstance(merged, str):
            return merged
        middle, channels = first.weight.type.shape[:2]
        filters = second.weight.type.shape[0]
        _, _, h1, w1 = first.node.output.type.shape
        _, _, h2, w2 = second.node.output.type.shape
        separate = first.weight.type.size * h1 * w1 + second.weight.type.size * h2 * w2
        together = filters * channels * int(np.prod(merged.kernel_size)) * h2 * w2
        if together > separate and not self._grow:
            return f"merging would cost {together / separate:.3g} times what both cost"
        assert middle == second.weight.type.shape[1]
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        first, second = LinearLayer(found.nodes["first"]), LinearLayer(found.root)
        attrs = _attrs(first.node, second.node)
        assert not isinstance(attrs, str)
        dtype = second.weight.type.dtype
        shape = (second.weight.type.shape[0], first.weight.type.shape[1], *attrs.kernel_size)
        old = conv_of(first.node), conv_of(second.node)
        # The values are kept, not the nodes: these are gone when somebody asks.
        w1, b1, w2, b2 = first.weight, first.bias, second.weight, second.bias

        def weight() -> Array:
            return merged_weight(float64(w1), float64(w2), *old, attrs).astype(dtype.numpy)

        def bias() -> Array:
            total = np.zeros(shape[0]) if b2 is None else float64(b2)
            if b1 is not None:
                total = total + float64(w2).sum(axis=(2, 3)) @ float64(b1)
            return total.astype(dtype.numpy)

        users = (first.node, second.node)
        new_weight = edit.constant(w2, LazyData(shape, dtype, weight), users)
        new_bias = b2
        if b1 is not None:
            data = LazyData(shape[:1], dtype, bias)
            name = f"{second.node.name}.bias"
            new_bias = edit.new_constant(name, data) if b2 is None else edit.constant(b2, data, users)
        inputs = [first.x, new_weight, new_bias, second.node.inputs[3]]
        edit.replace(second.node, CONV, attrs, inputs, absorbed=(first.node,))
        return f"merged into '{second.node.name}' after it"


def _attrs(first: Node, second: Node) -> ConvAttrs | str:
    a, b = conv_of(first), conv_of(second)
    kernel, dilation, pads = [], [], [0, 0, 0, 0]
    x = first.inputs[0]
    assert x is not None
    for axis in (0, 1):
        k1, k2, d1, d2, s1 = (
            a.kernel_size[axis],
            b.kernel_size[axis],
            a.dilation[axis],
            b.dilation[axis],
            a.stride[axis],
        )
        if k1 == 1:
            kernel.append(k2)
            dilation.append(s1 * d2 if k2 > 1 else 1)
        elif k2 == 1:
            kernel.append(k1)
            dilation.append(d1)
        else:
            kernel.append((k1 - 1) * d1 + (k2 - 1) * d2 * s1 + 1)
            dilation.append(1)
        size, small = x.type.shape[2 + axis], first.output.type.shape[2 + axis]
        if any(b.pads):
            rest = size - 1 - s1 * (small - 1)
            pads[axis] = b.pads[axis] * s1
            pads[axis + 2] = max(0, b.pads[axis + 2] * s1 - rest)
        else:
            pads[axis], pads[axis + 2] = a.pads[axis], a.pads[axis + 2]
    stride = (a.stride[0] * b.stride[0], a.stride[1] * b.stride[1])
    borders: Pads = (pads[0], pads[1], pads[2], pads[3])
    return ConvAttrs((kernel[0], kernel[1]), stride, borders, (dilation[0], dilation[1]), 1, b.activation)


def merged_weight(w1: Array, w2: Array, first: ConvAttrs, second: ConvAttrs, merged: ConvAttrs) -> Array:
    """`[O, C, KH, KW]` of the convolution that is `second` after `first`."""
    out = np.zeros((w2.shape[0], w1.shape[1], *merged.kernel_size))
    taps = np.einsum("omjv,mciu->ocjviu", w2, w1)
    at = [
        [[(j * s * d2 + i * d1) // d for i in range(k1)] for j in range(k2)]
        for k1, k2, d1, d2, s, d in zip(
            first.kernel_size,
            second.kernel_size,
            first.dilation,
            second.dilation,
            first.stride,
            merged.dilation,
            strict=True,
        )
    ]
    for j, v, i, u in np.ndindex(*taps.shape[2:]):
        out[:, :, at[0][j][i], at[1][v][u]] += taps[:, :, j, v, i, u]
    return out
