"""What a worker runs: an engine with one network loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cnnir.ir import Array


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input of the network; -1 in `shape` is the batch size that is still open."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as NumPy names it


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to load, and how: `path` is an artifact or an ONNX file, as the engine wants it."""

    engine: str
    path: Path
    precision: str
    threads: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "path": str(self.path),
            "precision": self.precision,
            "threads": self.threads,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LoadRequest:
        return cls(data["engine"], Path(data["path"]), data["precision"], data["threads"])


class Engine(Protocol):
    """One network in one engine. `prepare` comes before `run`, `run` before `outputs`."""

    @property
    def version(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    def prepare(self, arrays: Sequence[Array]) -> None:
        """Makes everything ready to run on these inputs (in the order of `inputs`), compiling where it must."""

    def run(self) -> None:
        """One inference: what is timed."""

    def outputs(self) -> Mapping[str, Array]:
        """What the last run gave, in the network's order."""


MakeEngine = Callable[[LoadRequest], Engine]
