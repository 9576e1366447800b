"""BatchNorm folding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnir.ir import Graph
from cnnir.ops.normalization import BATCH_NORM
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.folding import IntoLayerAfter, IntoLayerBefore
from cnnir.passes.folding_transposed import IntoTransposed
from cnnir.passes.pattern import apply_rules
from cnnir.passes.registry import register


@register
@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Folds batch normalisation into the convolution or dense layer before it, or else after it.

    Given:  y = BatchNormalization(Conv(x, w, b), scale, bias, mean, var)
    Result: y = Conv(x, w * s, b * s + t)  with  s = scale / sqrt(var + epsilon), t = bias - mean * s

    Given:  y = Conv(BatchNormalization(x, ...), w, b), no padding or t = 0
    Result: y = Conv(x, w * s, b + sum(w * t))  with s and t along the input channels

    A transposed convolution takes a normalisation behind it as a convolution does.
    Computed in float64 and rounded once, when the weights are first asked for. A weight that another layer
    shares keeps its data; the folded layer gets its own.
    """

    name: ClassVar[str] = "fold-batch-norm"
    contract: ClassVar[Contract] = EXACT
    source: ClassVar[str] = "Ioffe & Szegedy 2015, section 3.1; Jacob et al. 2018, section 3.2"

    def run(self, graph: Graph, report: Report) -> None:
        apply_rules(
            graph, (IntoLayerBefore((BATCH_NORM,)), IntoLayerAfter((BATCH_NORM,)), IntoTransposed()), report
        )
