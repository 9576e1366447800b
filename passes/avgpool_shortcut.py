"""Average pooling on the shortcut: ResNet variant c to variant d."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cnnir.ir import Graph, Node
from cnnir.ops.conv import CONV
from cnnir.ops.elementwise import ADD
from cnnir.ops.normalization import BATCH_NORM
from cnnir.ops.pool import AVERAGE_POOL, AveragePoolAttrs
from cnnir.passes.base import RETRAIN, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register
from cnnir.passes.surgery import conv_of, is_ancestor, only_reader, place_in_stack, rename, renumber


@register
@dataclass(frozen=True)
class AvgpoolShortcut(Pass):
    """Averages before the 1x1 convolution on a shortcut instead of letting it stride.

    Given:  y = body(x) + norm(Conv_1x1(x, w, stride s))
    Result: y = body(x) + norm(Conv_1x1(AveragePool_sxs(x, stride s), w))

    The mean is taken over the pixels that are there (ceil mode, padding not counted), so that the size stays.
    `w` is kept. Where layers are numbered as in PyTorch's Sequential (`downsample.0`), the pool takes the
    convolution's number and everything after it in the stack moves up by one, parameters too. With `renumber`,
    shortcuts without a stride in stacks of the same name move up as well: there timm has an identity in the
    pool's place, so that its weights load.
    """

    renumber: bool = True

    name: ClassVar[str] = "avgpool-shortcut"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = "He et al. 2019, Bag of Tricks, section 4.1, ResNet-D"

    def run(self, graph: Graph, report: Report) -> None:
        position = {node: i for i, node in enumerate(graph.nodes)}
        strided: list[Node] = []
        plain: list[Node] = []
        for node in graph.nodes:
            attrs = CONV.of(node)
            if attrs is None or attrs.kernel_size != (1, 1) or not _is_shortcut(node, graph, position):
                continue
            if attrs.stride == (1, 1):
                plain.append(node)
            elif any(attrs.pads):
                report.declined(node.name, "is padded")
            else:
                strided.append(node)
        stacks = {place[0].rpartition(".")[2] for n in strided if (place := place_in_stack(n.name)) is not None}
        with Editor(graph) as edit:
            for node in strided:
                _pool_before(node, graph, edit, report)
        if not self.renumber:
            return
        for node in plain:
            place = place_in_stack(node.name)
            if place is not None and place[1] == 0 and place[0].rpartition(".")[2] in stacks:
                renumber(graph, place[0], 0)
                report.rewrote(
                    f"{place[0]}.0", f"renamed to '{node.name}': timm has an identity in the pool's place"
                )


def _is_shortcut(node: Node, graph: Graph, position: dict[Node, int]) -> bool:
    """Whether the node leads, through a normalisation at most, to a sum with something else made from its input."""
    x = node.inputs[0]
    assert x is not None
    value = node.output
    reader = only_reader(value, graph)
    if reader is not None and reader.op is BATCH_NORM:
        value = reader.output
        reader = only_reader(value, graph)
    if reader is None or reader.op not in (ADD, CONV):
        return False
    if reader.op is CONV:  # the sum may already be the epilogue of the body's last convolution
        if reader.inputs[3] is not value:
            return False
        others = [reader.inputs[0]]
    else:
        others = [v for v in reader.inputs if v is not value]
    return len(x.uses) > 1 and any(v is not None and is_ancestor(x, v, position) for v in others)


def _pool_before(node: Node, graph: Graph, edit: Editor, report: Report) -> None:
    attrs = conv_of(node)
    old_name = node.name
    place = place_in_stack(old_name)
    moved = ""
    name = f"{old_name}.pool"
    if place is not None:
        # Only names that the graph has by now count, so what was put in before is committed first.
        edit.commit()
        n = renumber(graph, *place)
        name = old_name
        moved = f"; {n} parameters and statistics of '{place[0]}' carry the next number"
    pool_attrs = AveragePoolAttrs(attrs.stride, attrs.stride, ceil_mode=True)
    pool = edit.insert(node, AVERAGE_POOL, pool_attrs, [node.inputs[0]], name)
    new_name = node.name
    conv = edit.replace(node, CONV, replace(attrs, stride=(1, 1)), [pool.output, *node.inputs[1:]])
    rename(conv, new_name)
    stride = "x".join(map(str, attrs.stride))
    report.rewrote(old_name, f"its stride became an average over {stride} pixels, '{pool.name}'{moved}")
