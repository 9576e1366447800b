"""The registry of operators: the only mutable global of the IR, filled at import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from cnnir.errors import UnknownNameError
from cnnir.ir.op import Operator

_OPERATORS: dict[str, Operator[Any]] = {}

O = TypeVar("O", bound=Operator[Any])  # noqa: E741


def register(operator: type[O]) -> O:
    """Makes the operator known by name and returns its one instance."""
    instance = operator()
    if instance.name in _OPERATORS:
        raise ValueError(f"operator '{instance.name}' is registered twice")
    _OPERATORS[instance.name] = instance
    return instance


def operator(name: str) -> Operator[Any]:
    """The operator of that name; `UnknownNameError` if there is none."""
    if name not in _OPERATORS:
        raise UnknownNameError("operator", name, _OPERATORS)
    return _OPERATORS[name]


def operators() -> Iterator[Operator[Any]]:
    """Every operator, by name."""
    return iter(sorted(_OPERATORS.values(), key=lambda o: o.name))
