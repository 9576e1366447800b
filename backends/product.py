"""What every backend hands over: how to execute, the members of the artifact, what reports may show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cnnir.manifest import Execution, Json


@dataclass(frozen=True)
class Product:
    """The compiled form of a graph, ready to be put into an artifact."""

    execution: Execution
    members: Mapping[str, bytes | NDArray[Any]]
    plan: Mapping[str, Json]
