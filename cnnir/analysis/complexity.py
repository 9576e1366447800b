"""Time complexity of convolutions: He & Sun, "Convolutional Neural Networks at Constrained Time Cost" (2015)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from cnnir.errors import CnnirError
from cnnir.ir import Graph
from cnnir.ops.conv import CONV


@dataclass(frozen=True, slots=True)
class LayerComplexity:
    """One convolution, in the paper's letters: n_{l-1} (a group), s_l by s_l, n_l, m_l by m_l."""

    name: str
    in_channels: int
    kernel_size: tuple[int, int]
    filters: int
    output_size: tuple[int, int]

    @property
    def value(self) -> int:
        """n_{l-1} s_l^2 n_l m_l^2: multiply-accumulates for one image."""
        return self.in_channels * math.prod(self.kernel_size) * self.filters * math.prod(self.output_size)

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"value": self.value}


@dataclass(frozen=True, slots=True)
class Complexity:
    layers: tuple[LayerComplexity, ...]

    @property
    def total(self) -> int:
        return sum(layer.value for layer in self.layers)

    def as_dict(self) -> dict[str, object]:
        return {"total": self.total, "layers": [layer.as_dict() for layer in self.layers]}


def complexity(graph: Graph) -> Complexity:
    """Equation 1 of the paper, section 3: the sum over all convolutions of n_{l-1} s_l^2 n_l m_l^2, for one image.

    Fully connected and pooling layers are left out, as in the paper; n_{l-1} counts the channels of one group.
    """
    layers = []
    for node in graph.nodes:
        attrs = CONV.of(node)
        if attrs is not None:
            _, filters, height, width = node.output.type.shape
            weight = node.inputs[1]
            assert weight is not None
            in_channels = weight.type.shape[1]
            layers.append(LayerComplexity(node.name, in_channels, attrs.kernel_size, filters, (height, width)))
    return Complexity(tuple(layers))


def complexity_ratio(graph: Graph, base: Graph) -> float:
    """Complexity of `graph` over that of `base`; below 1 it is the cheaper one."""
    reference = complexity(base).total
    if not reference:
        raise CnnirError(f"Graph '{base.name}' has no convolution, so there is no complexity to compare with.")
    return complexity(graph).total / reference
