"""Which operator each backend has: the table in docs/operators.md, generated from the backends' own tables."""

from __future__ import annotations

from dataclasses import dataclass

from cnnir.backends.onnx.writers import WRITERS
from cnnir.backends.tvm.x86.support import SUPPORT
from cnnir.ir.registry import operators
from cnnir.ops.activation import UnaryOperator


@dataclass(frozen=True)
class Coverage:
    """One row: an operator, and which backends can execute it (the reference interpreter has them all)."""

    operator: str
    x86: bool
    onnx: bool


def coverage() -> list[Coverage]:
    """A row for every operator, by name."""
    return [Coverage(o.name, o.name in SUPPORT, o in WRITERS or isinstance(o, UnaryOperator)) for o in operators()]


def markdown() -> str:
    """The table as docs/operators.md shows it."""
    lines = ["| operator | reference | x86 | onnx |", "|---|---|---|---|"]
    for row in coverage():
        marks = ["yes" if has else "no" for has in (True, row.x86, row.onnx)]
        lines.append(f"| {row.operator} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"
