"""The registry of passes: filled when `cnnir.passes` is imported."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TypeVar

from cnnir.errors import UnknownNameError
from cnnir.passes.base import Pass

_PASSES: dict[str, type[Pass]] = {}

P = TypeVar("P", bound=Pass)


def register(cls: type[P]) -> type[P]:
    """Class decorator (outermost): makes a pass known by its name, and refuses one that breaks the house rules."""
    name = cls.name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ValueError(f"pass name '{name}' is not kebab-case")
    if name in _PASSES:
        raise ValueError(f"pass '{name}' is registered twice")
    if "__dataclass_params__" not in vars(cls):
        raise ValueError(f"pass '{name}' is not a dataclass")
    for option in dataclasses.fields(cls):
        if option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING:
            raise ValueError(f"option '{option.name}' of pass '{name}' has no default")
    _PASSES[name] = cls
    return cls


def find_pass(name: str) -> type[Pass]:
    """The pass of that name; `UnknownNameError` if there is none."""
    if name not in _PASSES:
        raise UnknownNameError("pass", name, _PASSES, see="See 'cnnir passes' for the list.")
    return _PASSES[name]


def passes() -> tuple[type[Pass], ...]:
    """Every pass, by name."""
    return tuple(sorted(_PASSES.values(), key=lambda p: p.name))


def summary(cls: type[Pass]) -> str:
    """The first line of the pass's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]
