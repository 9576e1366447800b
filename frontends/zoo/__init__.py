"""Every built-in architecture: one file a family, found by being in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from functools import cache

from cnnir.errors import UnknownNameError
from cnnir.frontends.dsl import Architecture, ModelInfo
from cnnir.ir import Graph

__all__ = ["build", "find", "models", "names"]


@cache
def _catalogue() -> Mapping[str, Architecture]:
    """Which architecture each model is a variant of, by family and then in the order of its table."""
    found: dict[str, Architecture] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        for member in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            # A family may use another's function, which then is a member of both modules.
            if isinstance(member, Architecture) and member.function.__module__.endswith(f".{module.name}"):
                for name in member.variants:
                    if name in found:
                        raise ValueError(f"two architectures have a variant '{name}'")
                    found[name] = member
    return found


def models() -> list[ModelInfo]:
    """Every built-in network, by family."""
    distinct = {id(a): a for a in _catalogue().values()}
    return [info for a in distinct.values() for info in a.models()]


def names() -> Collection[str]:
    """The names of every built-in network."""
    return _catalogue().keys()


def find(name: str) -> Architecture:
    """The architecture that has a variant of that name; `UnknownNameError` if there is none."""
    if name not in _catalogue():
        raise UnknownNameError("model", name, _catalogue(), see="'cnnir models' lists them.")
    return _catalogue()[name]


def build(
    name: str,
    *,
    seed: int = 0,
    input_shape: tuple[int, ...] | None = None,
    training: bool = False,
    **options: object,
) -> Graph:
    """The graph of a built-in network with parameters drawn from `seed`.

    Shapes: input `[N, *input_shape]` float32; the output is called `logits` unless the architecture names it.
    `training` keeps the outputs that only training uses. Raises `CnnirError` for an unknown name or option.
    """
    return find(name).build(name, seed=seed, input_shape=input_shape, training=training, **options)
