"""Folding of per-channel constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnir.ir import Graph
from cnnir.ops.elementwise import ADD, DIV, MUL, SUB
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.folding import IntoLayerAfter, IntoLayerBefore
from cnnir.passes.pattern import apply_rules
from cnnir.passes.registry import register

_OPS = (ADD, SUB, MUL, DIV)


@register
@dataclass(frozen=True)
class FoldAffine(Pass):
    """Folds additions and multiplications by one constant a channel into the layer before or after.

    Given:  y = Mul(Conv(x, w, b), c)      Add, Sub and Div by a constant likewise; c is [], [C,1,1] or [1,C,1,1]
    Result: y = Conv(x, w * c, b * c)

    Given:  y = Conv(Add(x, c), w, b), no padding        (preprocessing: mean and standard deviation)
    Result: y = Conv(x, w, b + sum(w * c))

    A multiplication also goes through padding, since zero stays zero.
    """

    name: ClassVar[str] = "fold-affine"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        apply_rules(graph, (IntoLayerBefore(_OPS), IntoLayerAfter(_OPS)), report)
