"""Sources -> Graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cnnir.ir import Graph

__all__ = ["load"]


def load(
    source: str,
    *,
    weights: Path | None = None,
    seed: int = 0,
    input_shape: tuple[int, ...] | None = None,
    options: Mapping[str, object] | None = None,
) -> Graph:
    """The graph of a source; see `cnnir.frontends.source.load`, which also tells where the weights come from."""
    # Late, so that importing one frontend does not import them all.
    from cnnir.frontends.source import load as load_source

    return load_source(source, weights=weights, seed=seed, input_shape=input_shape, options=options).graph
