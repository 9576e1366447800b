"""Dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnnir.ir import Graph
from cnnir.passes.base import EXACT, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register


@register
@dataclass(frozen=True)
class Dce(Pass):
    """Removes nodes whose values reach no graph output.

    Given:  a node with no reader and no graph output, and those that only it reads
    Result: none of them (graph inputs stay: they are the signature)
    """

    name: ClassVar[str] = "dce"
    contract: ClassVar[Contract] = EXACT

    def run(self, graph: Graph, report: Report) -> None:
        kept = set(graph.outputs.values())
        with Editor(graph) as edit:
            # Backwards, so that the readers of a node are gone before the node is looked at.
            for node in reversed(graph.nodes):
                if not any(v.uses or v in kept for v in node.outputs):
                    edit.erase(node)
                    report.rewrote(node.name, "removed, nothing reads it")
