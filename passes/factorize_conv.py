"""Large kernels as stacks of smaller ones, or as a column after a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Graph, Node, Value
from cnnir.ops.activation import RELU, NoAttrs
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.spatial import Pads
from cnnir.passes.base import RETRAIN, Contract, Pass, Report, approximate
from cnnir.passes.editor import Editor
from cnnir.passes.ranks import Budget, By
from cnnir.passes.registry import register
from cnnir.passes.surgery import check_layers, conv_of, float64, rename, rounded, selected, stem_of


class Form(StrEnum):
    """`stack`: k x k kernels after each other. `spatial`: n x 1, then 1 x n."""

    STACK = "stack"
    SPATIAL = "spatial"


class Between(StrEnum):
    """What stands between the new convolutions."""

    RELU = "relu"
    LINEAR = "linear"


@register
@dataclass(frozen=True)
class FactorizeConv(Pass):
    """Factorises k x k convolutions into a stack of smaller ones or into a column and a row.

    Given:  y = Conv_kxk(x, w)
    Result: y = Conv_mxm(... between(Conv_mxm(x)) ...), (k - 1) / (m - 1) of them            (`form=stack`)
            y = Conv_1xk(between(Conv_kx1(x)))                                               (`form=spatial`)

    The receptive field and the stride (in the last convolution) stay. In a stack m is `into`, or else 3 where k is
    odd and above 3, and 2 for 3x3; its middle layers have `width` filters, or as many as the old layer.
    Trained weights go into the spatial form, by the singular value decomposition of `w` over (c, row) and
    (o, column): the middle's width is `width`, or the rank that `by` and `amount` allow (share of the `energy`,
    relative `error` of the weights, share of the `macs`), rounded to `multiple`; full rank is exact with
    `between=linear`. A stack has no closed form: its filters are drawn anew, He normal, and the report says so.
    Declined where the result would cost more than before, unless `grow` is set.
    `kernel` takes layers of that size only, `layers` those of that name (`*` and `?` allowed).
    """

    form: Form = Form.SPATIAL
    between: Between = Between.LINEAR
    kernel: int = 0
    into: int = 0
    width: int = 0
    by: By = By.ENERGY
    amount: float = 0.95
    multiple: int = 1
    grow: bool = False
    layers: tuple[str, ...] = ()

    name: ClassVar[str] = "factorize-conv"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = (
        "Szegedy et al. 2016, Inception-v3, section 3; Jaderberg et al. 2014, scheme 2; He & Sun 2015, section 4.1"
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)
        for option, least in (("kernel", 2), ("into", 2), ("width", 1)):
            value = getattr(self, option)
            if value and value < least:
                raise ValueError(f"expected a {option} of at least {least}, or 0 to leave it open, got {value}")
        if self.into and self.form is Form.SPATIAL:
            raise ValueError("'into' is for stacks, but 'form' is spatial")
        if self.into and self.kernel and (self.into >= self.kernel or (self.kernel - 1) % (self.into - 1)):
            raise ValueError(f"kernels of {self.into} do not stack to one of {self.kernel}")
        self._budget()

    def promise(self) -> Contract:
        """The weights are within a bound only in the linear spatial form, with ranks by energy or error."""
        budget = self._budget()
        if self.form is Form.STACK or self.between is Between.RELU or self.by is By.MACS or self.width:
            return RETRAIN
        # Rounding of the element type remains where everything is kept.
        return approximate("relative error of the weights", max(math.sqrt(budget.lost), 1e-6))

    def _budget(self) -> Budget:
        return Budget(self.by, self.amount, self.multiple)

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            for node in selected(graph, self.layers, [n for n in graph.nodes if n.op is CONV]):
                attrs = conv_of(node)
                size = max(attrs.kernel_size)
                if (
                    size < 2
                    or min(attrs.kernel_size) == 1
                    or (self.kernel and attrs.kernel_size != (self.kernel,) * 2)
                ):
                    continue
                if reason := _unfit(node):
                    report.declined(node.name, reason)
                    continue
                plan = self._stack(node) if self.form is Form.STACK else self._spatial(node)
                if isinstance(plan, str):
                    report.declined(node.name, plan)
                    continue
                before = _macs(node)
                after = plan.macs(node)
                if after > before and not self.grow:
                    report.declined(node.name, f"would cost {after / before:.3g} times as much")
                    continue
                name = node.name
                last = _rewrite(node, plan, self.between, edit)
                change = f"{1 - after / before:.1%} fewer" if after <= before else f"{after / before - 1:.1%} more"
                report.rewrote(
                    name, f"factorised into {plan.words}, {change} MACs, up to '{last.name}'; {plan.weights}"
                )

    def _stack(self, node: Node) -> _Plan | str:
        attrs = conv_of(node)
        k = attrs.kernel_size[0]
        if attrs.kernel_size != (k, k):
            return "is not square"
        if k == 2:
            return "is no larger than the smallest kernel of a stack"
        m = self.into or (3 if k % 2 and k > 3 else 2)
        if m >= k or (k - 1) % (m - 1):
            return f"kernels of {m}x{m} do not stack to {k}x{k}"
        count = (k - 1) // (m - 1)
        filters, channels = _shape(node)[:2]
        width = self.width or filters
        widths = [*(width,) * (count - 1), filters]
        rng = np.random.default_rng(int.from_bytes(node.name.encode(), "little") % 2**63)
        weights: list[Array] = []
        inputs = [channels, *widths[:-1]]
        for n_in, n_out in zip(inputs, widths, strict=True):
            scale = math.sqrt(2 / (n_in * m * m))
            weights.append(rng.normal(0, scale, (n_out, n_in, m, m)))
        pads = _shared_pads(attrs.pads, count, m)
        if pads is None:
            return "has a padding that cannot be shared out"
        steps = [ConvAttrs((m, m), (1, 1), p) for p in pads]
        steps[-1] = replace(steps[-1], stride=attrs.stride)
        return _Plan(
            steps, widths, weights, f"{count} of {m}x{m}", "new weights drawn from He's normal distribution"
        )

    def _spatial(self, node: Node) -> _Plan | str:
        attrs = conv_of(node)
        old = float64(node.inputs[1])
        column, row, values = spatial_svd(old)
        filters, _, kh, kw = old.shape
        first, second = _column_row(attrs)
        per_rank = _Plan([first, second], [1, filters], [], "", "").macs(node)
        rank = self.width or self._budget().rank(values, per_rank, _macs(node))
        if rank < 1:
            return f"not even one filter fits into {self.amount:.0%} of the arithmetic"
        rank = min(rank, len(values))
        energy = float(np.sum(values**2))
        kept = float(np.sum(values[:rank] ** 2)) / energy if energy else 1.0
        words = f"{kh}x1 and 1x{kw} with {rank} filters between"
        weights = f"{kept:.2%} of the weights' energy kept"
        return _Plan([first, second], [rank, filters], [column[:rank], row[:, :rank]], words, weights)


@dataclass(frozen=True)
class _Plan:
    """The new convolutions, their filters and weights, and what to report."""

    steps: list[ConvAttrs]
    widths: list[int]
    values: list[Array]
    words: str
    weights: str

    def macs(self, node: Node) -> int:
        """Multiply-accumulates for one image."""
        x = node.inputs[0]
        assert x is not None
        channels, h, w = x.type.shape[1:]
        total = 0
        for attrs, width in zip(self.steps, self.widths, strict=True):
            (kh, kw), (sh, sw), (top, left, bottom, right) = attrs.kernel_size, attrs.stride, attrs.pads
            h, w = (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1
            total += h * w * channels * width * kh * kw
            channels = width
        return total


def spatial_svd(weight: Array) -> tuple[Array, Array, Array]:
    """Columns `[R, C, KH, 1]`, rows `[O, R, 1, KW]` and singular values `[R]` of `w[o, c, i, j]`.

    `w[o, c, i, j] = sum over r of row[o, r, 0, j] * column[r, c, i, 0]`, the first terms mattering most. The
    singular values are shared out evenly, so that neither convolution's outputs dwarf the other's.
    """
    o, c, kh, kw = weight.shape
    left, values, right = np.linalg.svd(weight.transpose(0, 3, 1, 2).reshape(o * kw, c * kh), full_matrices=False)
    root = np.sqrt(values)
    column = (root[:, None] * right).reshape(-1, c, kh, 1)
    row = (left * root).reshape(o, kw, -1).transpose(0, 2, 1)[:, :, None, :]
    return column, row, values


def _column_row(attrs: ConvAttrs) -> tuple[ConvAttrs, ConvAttrs]:
    """A kh x 1 convolution that strides along the height, and a 1 x kw one along the width."""
    top, left, bottom, right = attrs.pads
    (kh, kw), (sh, sw) = attrs.kernel_size, attrs.stride
    return ConvAttrs((kh, 1), (sh, 1), (top, 0, bottom, 0)), ConvAttrs((1, kw), (1, sw), (0, left, 0, right))


def _shared_pads(pads: Pads, count: int, m: int) -> list[Pads] | None:
    """The padding of each convolution in a stack of `count`: as even as can be, never more than m - 1 a side."""
    columns = [[p // count + (i < p % count) for i in range(count)] for p in pads]
    # Odd leftovers alternate between the sides, so that 2x2 kernels take and give back a pixel in turn.
    for side in (2, 3):
        columns[side].reverse()
    if any(p > m - 1 for column in columns for p in column):
        return None
    return [(columns[0][i], columns[1][i], columns[2][i], columns[3][i]) for i in range(count)]


def _unfit(node: Node) -> str | None:
    attrs = conv_of(node)
    if attrs.groups > 1:
        return "is grouped"
    if attrs.dilation != (1, 1):
        return "is dilated"
    weight = node.inputs[1]
    assert weight is not None
    if not weight.is_constant:
        return f"'{weight.name}' is not a constant"
    if weight.type.dtype not in ("f32", "f64"):
        return f"'{weight.name}' is {weight.type.dtype}, expected f32 or f64"
    return None


def _shape(node: Node) -> tuple[int, ...]:
    weight = node.inputs[1]
    assert weight is not None
    return weight.type.shape


def _macs(node: Node) -> int:
    return math.prod(_shape(node)) * math.prod(node.output.type.shape[2:])


def _rewrite(node: Node, plan: _Plan, between: Between, edit: Editor) -> Node:
    """Puts the planned convolutions in the place of `node`; bias, residual and activation stay with the last."""
    x, old, bias, residual = node.inputs
    assert x is not None and old is not None
    dtype, name, stem = old.type.dtype, node.name, stem_of(node)
    value: Value = x
    for i, attrs in enumerate(plan.steps[:-1]):
        weight = edit.new_constant(f"{stem}.{i}.weight", rounded(plan.values[i], dtype))
        made = edit.insert(node, CONV, attrs, [value, weight, None, None], f"{name}.{i}")
        if between is Between.RELU:
            made = edit.insert(node, RELU, NoAttrs(), [made.output], f"{name}.{i}.relu")
        value = made.output
    i = len(plan.steps) - 1
    weight = edit.new_constant(f"{stem}.{i}.weight", rounded(plan.values[i], dtype))
    attrs = replace(plan.steps[i], activation=conv_of(node).activation)
    last = edit.replace(node, CONV, attrs, [value, weight, bias, residual])
    rename(last, edit.fresh_name(f"{name}.{i}"))
    return last
