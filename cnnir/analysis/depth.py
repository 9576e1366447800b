"""How deep a network is, how much its weighted layers put out, and how far its features see."""

from __future__ import annotations

import math

from cnnir.analysis.receptive_field import receptive_fields
from cnnir.ir import Graph, Node, Value


def is_weighted(node: Node) -> bool:
    """Whether a node multiplies by weights: a convolution or a dense layer, but no normalisation or activation."""
    return any(port.name == "weight" for port in node.op.ports)


def depth(graph: Graph) -> int:
    """Weighted layers on the longest path, which is what papers call the number of layers (VGG-16: 16).

    Projections on a shortcut beside a deeper branch add nothing.
    """
    layers: dict[Value, int] = {}
    deepest = 0
    for node in graph.nodes:
        below = max((layers.get(v, 0) for v in node.inputs if v is not None), default=0)
        here = below + is_weighted(node)
        layers.update(dict.fromkeys(node.outputs, here))
        deepest = max(deepest, here)
    return deepest


def activations(graph: Graph) -> int:
    """Elements that the weighted layers put out for one image.

    Source: Radosavovic et al. 2020, Designing Network Design Spaces, section 3.1, with dense layers as timm counts.
    """
    return sum(
        math.prod(v.type.with_batch(1).shape) for node in graph.nodes if is_weighted(node) for v in node.outputs
    )


def receptive_field(graph: Graph) -> tuple[int, int]:
    """Height and width, in pixels of the input, of what one pixel of the farthest-seeing feature map depends on.

    It may be larger than the image. Where no map slides over the image (a perceptron) it is what the output sees.
    """
    fields = receptive_fields(graph)
    sliding = [f.size for f in fields.values() if all(f.stride) and f.size != (1, 1)]
    whole = [fields[v.name].size for v in graph.outputs.values() if v.name in fields]
    return max(sliding or whole, key=math.prod, default=(1, 1))
