"""Where a node came from: the user's own line, or a node of an imported file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loc:
    """`file:line` for the DSL; for imported models `line` is 0 and `detail` names the node of the file."""

    file: str
    line: int = 0
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.detail}" if self.detail else place
