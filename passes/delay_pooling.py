"""Delayed pooling: the maxima at stride 1, the stride in the convolution after them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from cnnir.ir import Attrs, Graph, Node
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.pool import AVERAGE_POOL, MAX_POOL, AveragePoolAttrs, PoolAttrs
from cnnir.ops.spatial import Pads
from cnnir.passes.base import EXACT, RETRAIN, Contract, Pass, Report
from cnnir.passes.registry import register
from cnnir.passes.surgery import check_layers, is_pointwise, only_reader, retyped, selected, set_attrs


class Form(StrEnum):
    """How the convolution takes the stride."""

    EXACT = "exact"
    PAPER = "paper"


@register
@dataclass(frozen=True)
class DelayPooling(Pass):
    """Pools at stride 1 and lets the convolutions that read the pool take its stride.

    Given:  y = Conv(Pool(x, stride s), stride t, dilation d, padding p)
    Result: y = Conv(Pool(x, stride 1), stride t * s, dilation d * s, padding p * s)    (`form=exact`)
            y = Conv(Pool(x, stride 1), stride t * s, dilation d, padding p)            (`form=paper`)

    The exact form reads just the pixels that were pooled before, so the function stays; it prepares a network for
    training with dense pooling, and costs the pool s^2 times as much. The paper's form looks at neighbouring
    maxima instead, and sizes change: among the convolutions after it, as far as stride 1 and pointwise nodes
    lead, those with an even kernel pad by one where their map has fewer pixels than the old pool's output had,
    and not where it has as many, so that 2x2 kernels take and give back a pixel in turn, as in the paper. All
    parameters are kept. `layers` names the pools (`*` and `?` allowed); all if it is empty.
    """

    form: Form = Form.PAPER
    layers: tuple[str, ...] = ()

    name: ClassVar[str] = "delay-pooling"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = "He & Sun 2015, Convolutional Neural Networks at Constrained Time Cost, section 4.6"

    def __post_init__(self) -> None:
        check_layers(self.layers)

    def promise(self) -> Contract:
        return EXACT if self.form is Form.EXACT else RETRAIN

    def run(self, graph: Graph, report: Report) -> None:
        wanted: dict[Node, dict[Node, Attrs]] = {}
        pools = [n for n in graph.nodes if n.op in (MAX_POOL, AVERAGE_POOL)]
        for node in selected(graph, self.layers, pools):
            readers = list(dict.fromkeys(user for user, _ in node.output.uses))
            # One that feeds no convolution has nothing to delay to.
            if _pool_attrs(node).stride == (1, 1) or not any(r.op is CONV for r in readers):
                continue
            if reason := _unfit(node, readers, graph):
                report.declined(node.name, reason)
                continue
            new = self._delay(node, readers, graph) if self.form is Form.PAPER else _exactly(node, readers)
            if isinstance(new, str):
                report.declined(node.name, new)
            else:
                wanted[node] = new
        changes = _fitting(wanted, graph, report)
        if changes:
            set_attrs(graph, changes)

    def _delay(self, node: Node, readers: list[Node], graph: Graph) -> dict[Node, Attrs] | str:
        old = _pool_attrs(node)
        new: dict[Node, Attrs] = {node: replace(old, stride=(1, 1))}
        for reader in readers:
            attrs = _conv_attrs(reader)
            if attrs.dilation != (1, 1):
                return f"'{reader.name}' is dilated"
            new[reader] = replace(attrs, stride=_times(attrs.stride, old.stride))
        if len(readers) == 1:
            meant = node.output.type.shape[2:]
            new |= _alternate(readers[0], (meant[0], meant[1]), new, graph)
        return new


def _fitting(wanted: dict[Node, dict[Node, Attrs]], graph: Graph, report: Report) -> dict[Node, Attrs]:
    """All changes if the graph holds together with them, else those pools' that fit one after the other.

    One pool alone may leave the next a pixel short where both together do not.
    """
    together: dict[Node, Attrs] = {}
    for new in wanted.values():
        together |= new
    everything = not isinstance(retyped(graph, together), str)
    changes: dict[Node, Attrs] = {}
    for node, new in wanted.items():
        if not everything:
            types = retyped(graph, changes | new)
            if isinstance(types, str):
                report.declined(node.name, types)
                continue
        changes |= new
        report.rewrote(node.name, _words(node, new))
    return changes


def _words(node: Node, new: dict[Node, Attrs]) -> str:
    readers = {user for user, _ in node.output.uses}
    names = ", ".join(f"'{n.name}'" for n in new if n in readers)
    others = ", ".join(f"'{n.name}'" for n in new if n is not node and n not in readers)
    stride = "x".join(map(str, _pool_attrs(node).stride))
    return f"its stride {stride} moved to {names}" + (f"; padding chosen anew in {others}" if others else "")


def _alternate(first: Node, meant: tuple[int, int], new: dict[Node, Attrs], graph: Graph) -> dict[Node, Attrs]:
    """Padding of the even kernels after `first`, chosen anew so that maps keep the size that they should have."""
    start = _size_after(first, new)
    if start is None:
        return {}
    size = start
    result: dict[Node, Attrs] = {}
    node = first
    while True:
        reader = only_reader(node.output, graph)
        if reader is None:
            return result
        if is_pointwise(reader):
            node = reader
            continue
        attrs = CONV.of(reader)
        if attrs is None or attrs.stride != (1, 1) or attrs.dilation != (1, 1) or reader.inputs[3] is not None:
            return result
        if reader.inputs[0] is not node.output:
            return result
        pads = list(attrs.pads)
        for axis in (0, 1):
            kernel = attrs.kernel_size[axis]
            if kernel % 2 == 0:
                border = kernel // 2 if size[axis] < meant[axis] else kernel // 2 - 1
                pads[axis] = pads[axis + 2] = border
        chosen: Pads = (pads[0], pads[1], pads[2], pads[3])
        if chosen != attrs.pads:
            result[reader] = replace(attrs, pads=chosen)
        kh, kw = attrs.kernel_size
        size = (size[0] + chosen[0] + chosen[2] - kh + 1, size[1] + chosen[1] + chosen[3] - kw + 1)
        node = reader


def _size_after(node: Node, new: dict[Node, Attrs]) -> tuple[int, int] | None:
    """Height and width of the output of `node`, whose attributes and whose producer's are about to change."""
    x = node.inputs[0]
    assert x is not None and x.producer is not None
    pool = x.producer
    image = pool.inputs[0]
    assert image is not None
    pool_attrs, attrs = new[pool], new[node]
    assert isinstance(pool_attrs, PoolAttrs) and isinstance(attrs, ConvAttrs)
    oh, ow = pool_attrs.output((image.type.shape[2], image.type.shape[3]))
    size = [
        (n + attrs.pads[i] + attrs.pads[i + 2] - attrs.kernel_size[i]) // attrs.stride[i] + 1
        for i, n in enumerate((oh, ow))
    ]
    return None if min(size) < 1 else (size[0], size[1])


def _unfit(node: Node, readers: list[Node], graph: Graph) -> str | None:
    if graph.is_output(node.output):
        return "is a graph output"
    if _pool_attrs(node).dilation != (1, 1):
        return "is dilated"
    if other := next((r for r in readers if r.op is not CONV), None):
        return f"{other.op.name} '{other.name}' reads it too"
    if other := next((r for r in readers if r.inputs[0] is not node.output or r.inputs[3] is node.output), None):
        return f"'{other.name}' reads it as a weight or residual"
    return None


def _exactly(node: Node, readers: list[Node]) -> dict[Node, Attrs] | str:
    """Attributes with which the convolutions read only the pixels of the stride-`s` pool.

    With stride 1 the pool has e < s more rows behind the last one that was read; padding of p rows becomes p * s
    rows, less those e at the end. In ceil mode the last window may begin after the last one of stride 1, and the
    pool itself is padded for it.
    """
    old = _pool_attrs(node)
    image = node.inputs[0]
    assert image is not None
    size = (image.type.shape[2], image.type.shape[3])
    dense = replace(old, stride=(1, 1), ceil_mode=False)
    few, many = old.output(size), dense.output(size)
    pads, extra = list(dense.pads), [0, 0]
    for axis in (0, 1):
        surplus = many[axis] - 1 - old.stride[axis] * (few[axis] - 1)
        if surplus < 0:
            if isinstance(old, AveragePoolAttrs) and old.count_include_pad:
                return "its last window hangs over the edge, where padding would be counted"
            pads[axis + 2] -= surplus
            if pads[axis + 2] >= old.kernel_size[axis]:
                return "its last window hangs too far over the edge"
        extra[axis] = max(0, surplus)
    padded: Pads = (pads[0], pads[1], pads[2], pads[3])
    new: dict[Node, Attrs] = {node: replace(dense, pads=padded)}
    for reader in readers:
        attrs = _conv_attrs(reader)
        grown = [p * s for p, s in zip(attrs.pads, (*old.stride, *old.stride), strict=True)]
        for axis in (0, 1):
            grown[axis + 2] = max(0, grown[axis + 2] - extra[axis])
        new[reader] = replace(
            attrs,
            stride=_times(attrs.stride, old.stride),
            dilation=_times(attrs.dilation, old.stride),
            pads=(grown[0], grown[1], grown[2], grown[3]),
        )
    return new


def _times(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] * b[0], a[1] * b[1]


def _pool_attrs(node: Node) -> PoolAttrs:
    assert isinstance(node.attrs, PoolAttrs)
    return node.attrs


def _conv_attrs(node: Node) -> ConvAttrs:
    assert isinstance(node.attrs, ConvAttrs)
    return node.attrs
