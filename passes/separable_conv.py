"""Convolutions as depthwise ones followed by 1x1 ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Graph, Node
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.passes.base import RETRAIN, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register
from cnnir.passes.surgery import check_layers, conv_of, float64, rename, rounded, selected, stem_of


@register
@dataclass(frozen=True)
class SeparableConv(Pass):
    """Puts a depthwise convolution and a 1x1 convolution in the place of a k x k convolution.

    Given:  y = Conv_kxk(x, w, b)
    Result: y = Conv_1x1(DepthwiseConv_kxk(x, d), p, b), with `terms` filters for every input channel in d

    `w[o, c] = sum over t of p[o, c, t] d[c, t]`: for every input channel the singular value decomposition of its
    kernels over (o) and (row, column), the best in the Frobenius norm. With k^2 terms (or as many as there are
    filters) it is exact. The contract is retraining: one term seldom keeps more than half of the energy, and the
    report says how much. Declined where the result would cost more than before, unless `grow` is set.
    `layers` names the convolutions (`*` and `?` allowed); all of 2x2 and more if it is empty.
    """

    terms: int = 1
    grow: bool = False
    layers: tuple[str, ...] = ()

    name: ClassVar[str] = "separable-conv"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = "Guo et al. 2018, Network Decoupling, arXiv 1808.05517; Howard et al. 2017, MobileNets"

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if self.terms < 1:
            raise ValueError(f"expected at least 1 of terms, got {self.terms}")

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            for node in selected(graph, self.layers, [n for n in graph.nodes if n.op is CONV]):
                attrs = conv_of(node)
                weight = node.inputs[1]
                assert weight is not None
                filters, channels, kh, kw = weight.type.shape
                if attrs.kernel_size == (1, 1) or (attrs.groups > 1 and channels == 1):
                    continue
                if reason := _unfit(node):
                    report.declined(node.name, reason)
                    continue
                terms = min(self.terms, filters, kh * kw)
                ratio = terms * (kh * kw + filters) / (filters * kh * kw)
                if ratio > 1 and not self.grow:
                    report.declined(node.name, f"would cost {ratio:.3g} times as much")
                    continue
                name = node.name
                kept = _rewrite(node, terms, edit)
                change = f"{1 - ratio:.1%} fewer" if ratio <= 1 else f"{ratio - 1:.1%} more"
                report.rewrote(
                    name,
                    f"{terms * channels} depthwise filters and {filters} of 1x1, {change} MACs; "
                    f"{kept:.2%} of the weights' energy kept",
                )


def depthwise_svd(weight: Array, terms: int) -> tuple[Array, Array]:
    """Depthwise `[C * T, 1, KH, KW]` and pointwise `[O, C * T, 1, 1]` kernels nearest to `weight`."""
    o, c, kh, kw = weight.shape
    left, values, right = np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(c, o, kh * kw), full_matrices=False)
    root = np.sqrt(values[:, :terms])
    depthwise = (root[:, :, None] * right[:, :terms]).reshape(c * terms, 1, kh, kw)
    pointwise = (left[:, :, :terms] * root[:, None, :]).transpose(1, 0, 2).reshape(o, c * terms, 1, 1)
    return depthwise, pointwise


def _rewrite(node: Node, terms: int, edit: Editor) -> float:
    x, weight, bias, residual = node.inputs
    assert x is not None and weight is not None
    attrs, dtype, name, stem = conv_of(node), weight.type.dtype, node.name, stem_of(node)
    old = float64(weight)
    depthwise, pointwise = depthwise_svd(old, terms)
    constant = edit.new_constant(f"{stem}.0.weight", rounded(depthwise, dtype))
    step = replace(attrs, groups=old.shape[1], activation=None)
    value = edit.insert(node, CONV, step, [x, constant, None, None], f"{name}.0").output
    constant = edit.new_constant(f"{stem}.1.weight", rounded(pointwise, dtype))
    last = edit.replace(
        node, CONV, ConvAttrs((1, 1), activation=attrs.activation), [value, constant, bias, residual]
    )
    rename(last, edit.fresh_name(f"{name}.1"))
    o, c = old.shape[:2]
    new = np.einsum("oct,ctn->ocn", pointwise.reshape(o, c, terms), depthwise.reshape(c, terms, -1))
    energy = float(np.sum(old**2))
    return 1 - float(np.sum((new.reshape(old.shape) - old) ** 2)) / energy if not math.isclose(energy, 0) else 1.0


def _unfit(node: Node) -> str | None:
    weight = node.inputs[1]
    assert weight is not None
    if conv_of(node).groups > 1:
        return "is grouped"
    if not weight.is_constant:
        return f"'{weight.name}' is not a constant"
    if weight.type.dtype not in ("f32", "f64"):
        return f"'{weight.name}' is {weight.type.dtype}, expected f32 or f64"
    return None
