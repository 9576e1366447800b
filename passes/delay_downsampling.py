"""Delayed downsampling: ResNet variant a to variant b."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cnnir.ir import Attrs, Graph, Node
from cnnir.ops.conv import CONV
from cnnir.passes.base import RETRAIN, Contract, Pass, Report
from cnnir.passes.registry import register
from cnnir.passes.surgery import behind_pointwise, conv_of, only_reader, retyped, set_attrs


@register
@dataclass(frozen=True)
class DelayDownsampling(Pass):
    """Moves the stride of a 1x1 convolution to the larger convolution after it.

    Given:  y = Conv_kxk(pointwise(Conv_1x1(x, stride s)), stride 1), k >= s
    Result: y = Conv_kxk(pointwise(Conv_1x1(x)), stride s)

    A 1x1 convolution of stride 2 never looks at three quarters of the pixels. `pointwise` are batch normalisation
    and activations that nothing else reads. All parameters are kept with their names; the larger convolution now
    sees other neighbours than it was trained on. Costs s^2 times the arithmetic of the 1x1 convolution.
    """

    name: ClassVar[str] = "delay-downsampling"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = "He et al. 2019, Bag of Tricks, section 4.1, ResNet-B"

    def run(self, graph: Graph, report: Report) -> None:
        changes: dict[Node, Attrs] = {}
        for node in graph.nodes:
            attrs = CONV.of(node)
            if attrs is None or attrs.kernel_size == (1, 1):
                continue
            x = node.inputs[0]
            assert x is not None
            first, _ = behind_pointwise(x, graph)
            if first is None or first.op is not CONV:
                continue
            before = conv_of(first)
            if before.kernel_size != (1, 1) or before.stride == (1, 1):
                continue
            if reason := _unfit(first, node, graph):
                report.declined(first.name, reason)
                continue
            new = {first: replace(before, stride=(1, 1)), node: replace(attrs, stride=before.stride)}
            types = retyped(graph, new)
            if isinstance(types, str) or node.output in types:
                report.declined(first.name, types if isinstance(types, str) else f"'{node.name}' would change size")
                continue
            changes |= new
            stride = "x".join(map(str, before.stride))
            report.rewrote(first.name, f"its stride {stride} moved to '{node.name}'")
        if changes:
            set_attrs(graph, changes)


def _unfit(first: Node, second: Node, graph: Graph) -> str | None:
    before, after = conv_of(first), conv_of(second)
    if any(before.pads):
        return "is padded"
    if first.inputs[3] is not None:
        return "adds a residual of the small size"
    if after.stride != (1, 1):
        return f"'{second.name}' after it has a stride of its own"
    if any(k < s for k, s in zip(after.kernel_size, before.stride, strict=True)):
        return f"the kernel of '{second.name}' is smaller than the stride and would skip pixels"
    if after.dilation != (1, 1):
        return f"'{second.name}' after it is dilated"
    if only_reader(first.output, graph) is None:
        return f"'{first.output.name}' is read elsewhere"
    return None
