"""Dense layers on images as convolutions over the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnir.ir import Array, Graph, LazyData, Node
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.dense import DENSE
from cnnir.ops.shape import FLATTEN, RESHAPE, FlattenAttrs
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register
from cnnir.passes.surgery import data_of


@register
@dataclass(frozen=True)
class DenseToConv(Pass):
    """Turns a dense layer on a flattened image into a convolution whose kernel is the image.

    Given:  y = Gemm(Flatten(x), w, b), x of shape [N, C, H, W]
    Result: y = Flatten(Conv_HxW(x, w as [O, C, H, W], b))

    The arithmetic is the same; the network becomes fully convolutional, so that it can be run on larger images,
    and passes that factorise convolutions see the layer. The names stay with the convolution and its parameters.
    """

    name: ClassVar[str] = "dense-to-conv"
    contract: ClassVar[Contract] = EXACT
    source: ClassVar[str] = "Sermanet et al. 2014, OverFeat, section 3.5; Long et al. 2015, section 3.1"

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            for node in list(graph.nodes):
                if node.op is not DENSE:
                    continue
                if reason := _unfit(node, graph):
                    report.declined(node.name, reason)
                else:
                    report.rewrote(node.name, _rewrite(node, edit))


def _unfit(node: Node, graph: Graph) -> str | None:
    x, weight = node.inputs[:2]
    assert x is not None and weight is not None
    flat = x.producer
    if flat is None or flat.op not in (FLATTEN, RESHAPE):
        return f"'{x.name}' is no flattened image"
    image = flat.inputs[0]
    assert image is not None
    # A reshape may mix images of the batch; flattening is what keeps axis 0 and joins the others.
    shape = image.type.shape
    if len(shape) != 4 or x.type.shape != (shape[0], shape[1] * shape[2] * shape[3]):
        return f"'{flat.name}' flattens {image.type}, not each image of a batch"
    if not weight.is_constant:
        return f"'{weight.name}' is not a constant"
    if image.type.dtype != weight.type.dtype:
        return f"'{weight.name}' has another element type than '{image.name}'"
    return None


def _rewrite(node: Node, edit: Editor) -> str:
    flat_value, old, bias = node.inputs
    assert flat_value is not None and old is not None and flat_value.producer is not None
    image = flat_value.producer.inputs[0]
    assert image is not None
    _, c, h, w = image.type.shape
    attrs = DENSE.of(node)
    assert attrs is not None
    data = data_of(old)
    shape = (old.type.shape[0], c, h, w)

    def load() -> Array:
        return data.numpy().reshape(shape)

    weight = edit.constant(old, LazyData(shape, data.dtype, load), [node])
    name, output = node.name, node.output.name
    node.name = edit.fresh_name(f"{name}.flat")
    conv = edit.insert(
        node, CONV, ConvAttrs((h, w), activation=attrs.activation), [image, weight, bias, None], f"{name}.conv"
    )
    flat = edit.replace(node, FLATTEN, FlattenAttrs(1), [conv.output])
    flat.name = flat.output.name = node.name
    # The layer's name goes with its weights; the view that follows it gets a new one.
    conv.name, conv.output.name = name, output
    edit.erase_unread(flat_value)
    return f"is a convolution of {h}x{w} over '{image.name}'"
