"""A k x k convolution as 1x1, k x k, 1x1 between fewer channels: Tucker-2."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Graph, Node
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.passes.base import RETRAIN, Contract, Pass, Report, approximate
from cnnir.passes.editor import Editor
from cnnir.passes.ranks import Budget, By, enough
from cnnir.passes.registry import register
from cnnir.passes.surgery import check_layers, conv_of, float64, rename, rounded, selected, stem_of

SWEEPS = 2
"""Rounds of alternating least squares after HOSVD; the error hardly falls after that."""


@register
@dataclass(frozen=True)
class InsertBottleneck(Pass):
    """Puts a bottleneck in the place of a k x k convolution.

    Given:  y = Conv_kxk(x, w, b)
    Result: y = Conv_1x1(Conv_kxk(Conv_1x1(x, u), core), v, b)

    `w[o, c] = sum over q, p of v[o, q] core[q, p] u[p, c]`: Tucker's decomposition over both channel axes, by the
    higher-order SVD and a few sweeps of alternating least squares (higher-order orthogonal iteration). Ranks: the
    share of the `energy` that `amount` asks of each axis' share of the loss, a bound on the relative `error` of the
    weights, or the best pair within a share of the `macs`; each is rounded up (for macs, down) to `multiple`.
    `width` gives both ranks instead (at most what there is). Full rank is exact. Declined where the result would
    cost more than before, unless `grow` is set.
    `layers` names the convolutions (`*` and `?` allowed); all of 2x2 and more if it is empty.
    """

    by: By = By.ENERGY
    amount: float = 0.9
    multiple: int = 1
    width: int = 0
    grow: bool = False
    layers: tuple[str, ...] = ()

    name: ClassVar[str] = "insert-bottleneck"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = "Kim et al. 2016, arXiv 1511.06530; De Lathauwer et al. 2000, HOSVD and HOOI"

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if self.width < 0:
            raise ValueError(f"expected a width of at least 1, or 0 to leave it open, got {self.width}")
        Budget(self.by, self.amount, self.multiple)

    def promise(self) -> Contract:
        if self.by is By.MACS or self.width:
            return RETRAIN
        lost = Budget(self.by, self.amount, self.multiple).lost
        return approximate("relative error of the weights", max(math.sqrt(lost), 1e-6))

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            for node in selected(graph, self.layers, [n for n in graph.nodes if n.op is CONV]):
                if conv_of(node).kernel_size == (1, 1):
                    continue
                if reason := _unfit(node):
                    report.declined(node.name, reason)
                    continue
                old = float64(node.inputs[1])
                ranks = self._ranks(node, old)
                if ranks is None:
                    report.declined(node.name, f"no bottleneck fits into {self.amount:.0%} of the arithmetic")
                    continue
                before, after = bottleneck_macs(node, None), bottleneck_macs(node, ranks)
                if after > before and not self.grow:
                    report.declined(node.name, f"would cost {after / before:.3g} times as much")
                    continue
                name = node.name
                kept = _rewrite(node, old, ranks, edit)
                change = f"{1 - after / before:.1%} fewer" if after <= before else f"{after / before - 1:.1%} more"
                shape = f"{old.shape[1]} -> {ranks[0]} -> {ranks[1]} -> {old.shape[0]} channels"
                report.rewrote(name, f"{shape}, {change} MACs; {kept:.2%} of the weights' energy kept")

    def _ranks(self, node: Node, old: Array) -> tuple[int, int] | None:
        """Channels before and after the core; `None` where the arithmetic allows none."""
        if self.width:
            return min(self.width, old.shape[1]), min(self.width, old.shape[0])
        budget = Budget(self.by, self.amount, self.multiple)
        (_, inner), (_, outer) = _axis(old, 1), _axis(old, 0)
        sizes = old.shape[1], old.shape[0]
        if self.by is not By.MACS:
            if budget.keeps_all:
                return sizes
            # The error of both projections together is at most the sum of each one's: half the loss for each.
            pair = [enough(values, budget.lost / 2) for values in (inner, outer)]
            rounded_up = [min(n, -(-r // self.multiple) * self.multiple) for r, n in zip(pair, sizes, strict=True)]
            return rounded_up[0], rounded_up[1]
        limit = self.amount * bottleneck_macs(node, None)
        best, least = None, math.inf
        tails = [
            np.append(np.cumsum((v**2)[::-1])[::-1], np.zeros(n - len(v) + 1))
            for v, n in zip((inner, outer), sizes, strict=True)
        ]
        for p in range(self.multiple, sizes[0] + 1, self.multiple):
            for q in range(self.multiple, sizes[1] + 1, self.multiple):
                if bottleneck_macs(node, (p, q)) > limit:
                    break
                lost = tails[0][p] + tails[1][q]
                if lost < least:
                    best, least = (p, q), lost
        return best


def bottleneck_macs(node: Node, ranks: tuple[int, int] | None) -> int:
    """Multiply-accumulates for one image, as it is or with a bottleneck of these ranks."""
    x, weight = node.inputs[:2]
    assert x is not None and weight is not None
    filters, channels, kh, kw = weight.type.shape
    before, after = math.prod(x.type.shape[2:]), math.prod(node.output.type.shape[2:])
    if ranks is None:
        return filters * channels * kh * kw * after
    p, q = ranks
    return channels * p * before + (p * q * kh * kw + q * filters) * after


def tucker2(weight: Array, ranks: tuple[int, int], sweeps: int = SWEEPS) -> tuple[Array, Array, Array]:
    """`u [P, C]`, `core [Q, P, KH, KW]`, `v [O, Q]` with `w[o, c] = sum of v[o, q] core[q, p] u[p, c]`, nearly.

    Rows of `u` and columns of `v` are orthonormal. Every sweep lowers the error or leaves it.
    """
    p, q = ranks
    u = _axis(weight, 1)[0][:, :p].T
    v = _axis(weight, 0)[0][:, :q]
    if (p, q) != (weight.shape[1], weight.shape[0]):
        for _ in range(sweeps):
            v = _axis(np.einsum("ocij,pc->opij", weight, u, optimize=True), 0)[0][:, :q]
            u = _axis(np.einsum("ocij,oq->qcij", weight, v, optimize=True), 1)[0][:, :p].T
    core = np.einsum("ocij,oq,pc->qpij", weight, v, u, optimize=True)
    return u, core, v


def _axis(weight: Array, axis: int) -> tuple[Array, Array]:
    """Orthonormal directions (all of them) and singular values of the tensor unfolded along an axis."""
    unfolded = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    # The Gram matrix has the small side only. Values below 1e-8 of the largest are noise, but the directions stay
    # orthonormal whatever happens, so that nothing is lost at full rank.
    squares, directions = np.linalg.eigh(unfolded @ unfolded.T)
    return directions[:, ::-1], np.sqrt(np.maximum(squares[::-1], 0))


def _rewrite(node: Node, old: Array, ranks: tuple[int, int], edit: Editor) -> float:
    u, core, v = tucker2(old, ranks)
    x, weight, bias, residual = node.inputs
    assert x is not None and weight is not None
    attrs, dtype, name, stem = conv_of(node), weight.type.dtype, node.name, stem_of(node)
    value = x
    steps = ((u[:, :, None, None], ConvAttrs((1, 1))), (core, replace(attrs, activation=None)))
    for i, (array, step) in enumerate(steps):
        constant = edit.new_constant(f"{stem}.{i}.weight", rounded(array, dtype))
        value = edit.insert(node, CONV, step, [value, constant, None, None], f"{name}.{i}").output
    constant = edit.new_constant(f"{stem}.2.weight", rounded(v[:, :, None, None], dtype))
    last = edit.replace(
        node, CONV, ConvAttrs((1, 1), activation=attrs.activation), [value, constant, bias, residual]
    )
    rename(last, edit.fresh_name(f"{name}.2"))
    energy = float(np.sum(old**2))
    # The factors are orthonormal: the core's energy is what is kept.
    return float(np.sum(core**2)) / energy if energy else 1.0


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
