"""Folding of explicit padding into the window that reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from cnnir.errors import ShapeError
from cnnir.ir import Attrs, Graph, Node, Value
from cnnir.ops.conv import CONV
from cnnir.ops.pool import AVERAGE_POOL, MAX_POOL, AveragePoolAttrs, PoolAttrs
from cnnir.ops.shape import PAD
from cnnir.ops.spatial import Pads
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.facts import is_non_negative
from cnnir.passes.pattern import Anything, Apply, Match, Rule, apply_rules
from cnnir.passes.registry import register


class _IntoWindow(Rule):
    pattern = Apply("window", (CONV, AVERAGE_POOL, MAX_POOL), (Apply("pad", (PAD,), (Anything("x"),)),))
    subject = "pad"

    def check(self, found: Match, edit: Editor) -> str | None:
        window, x = found.root, found.values["x"]
        pads = _spatial_pads(found.nodes["pad"])
        if isinstance(pads, str):
            return pads
        value = _pad_value(found)
        if window.op is CONV and value != 0:
            return f"pads with {value:g}, but a convolution pads with 0"
        if (average := AVERAGE_POOL.of(window)) is not None:
            if value != 0:
                return f"pads with {value:g}, but an average pads with 0"
            if any(average.pads) and not average.count_include_pad:
                return f"'{window.name}' does not count padding of its own, so both cannot be one"
            if average.ceil_mode:
                return f"'{window.name}' rounds up, and what hangs over padding is not counted"
        if window.op is MAX_POOL and (reason := _max_pool_reason(value, x)):
            return reason
        attrs = _padded(window, pads)
        try:
            types = window.op.infer(attrs, [x.type, *(None if v is None else v.type for v in window.inputs[1:])])
        except ShapeError as error:
            return error.message.rstrip(".")
        if types[0].shape != window.output.type.shape:
            return f"'{window.name}' would have an output of type {types[0]} instead of {window.output.type}"
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        window = found.root
        pads = _spatial_pads(found.nodes["pad"])
        assert not isinstance(pads, str)
        inputs = [found.values["x"], *window.inputs[1:]]
        edit.replace(window, window.op, _padded(window, pads), inputs, absorbed=(found.nodes["pad"],))
        return f"folded into '{window.name}'"


@register
@dataclass(frozen=True)
class FoldPad(Pass):
    """Folds explicit padding of an image into the convolution or pooling that reads it.

    Given:  y = Conv(Pad(x, p, 0), w, pads=q)
    Result: y = Conv(x, w, pads=p+q)

    Given:  y = AveragePool(Pad(x, p, 0)), without padding of its own or with count_include_pad, not rounding up
    Result: y = AveragePool(x, pads=p+q, count_include_pad)

    Given:  y = MaxPool(Pad(x, p, v), pads=q), v = -inf; or v = 0 with x nowhere negative
    Result: y = MaxPool(x, pads=p+q)

    The last holds because every window has an element of x (a pooling node without one cannot be built): the
    maximum over it is at least 0, so that the zeros of the padding never decide.
    """

    name: ClassVar[str] = "fold-pad"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        apply_rules(graph, (_IntoWindow(),), report)


def _pad_value(found: Match) -> float:
    pad = PAD.of(found.nodes["pad"])
    assert pad is not None
    value: float = pad.value
    return value


def _spatial_pads(node: Node) -> Pads | str:
    """Top, left, bottom, right of a `Pad`; or why it is more than that."""
    pad = PAD.of(node)
    assert pad is not None
    if len(pad.pads) != 8:
        return "does not pad an image"
    before, after = pad.pads[:4], pad.pads[4:]
    if any(before[:2]) or any(after[:2]):
        return "pads batch or channels"
    return before[2], before[3], after[2], after[3]


def _max_pool_reason(value: float, x: Value) -> str | None:
    if value == -math.inf:
        return None
    if value != 0:
        return f"pads with {value:g}, but the maximum ignores padding"
    if not is_non_negative(x):
        return f"pads with 0, which would win over negative elements of '{x.name}'"
    return None


def _padded(window: Node, pads: Pads) -> Attrs:
    """The attributes of `window` with that much more padding."""

    def total(own: Pads) -> Pads:
        return own[0] + pads[0], own[1] + pads[1], own[2] + pads[2], own[3] + pads[3]

    if (conv := CONV.of(window)) is not None:
        return replace(conv, pads=total(conv.pads))
    if (average := AVERAGE_POOL.of(window)) is not None:
        # Explicit zeros took part in the mean, so the folded ones do.
        folded: AveragePoolAttrs = replace(average, pads=total(average.pads), count_include_pad=True)
        return folded
    assert isinstance(window.attrs, PoolAttrs)
    return replace(window.attrs, pads=total(window.attrs.pads))
