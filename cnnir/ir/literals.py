"""From what is written in the text form to attribute records, guided by the types of their fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Union

from cnnir.errors import CnnirError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: the value of an enumeration."""

    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """`Name(field=value, ...)`: a dataclass; every field with its place in the text."""

    name: str
    fields: Mapping[str, tuple[Raw, str]]


Raw = Union[None, bool, int, float, str, tuple["Raw", ...], Word, Record]  # noqa: UP007  # recursive
"""A value as written, before its field says what it is to be."""


class MismatchError(CnnirError):
    """A value that its field does not take."""


def build(cls: type, owner: str, fields: Mapping[str, tuple[Raw, str]], place: str) -> object:
    """A dataclass from written fields; fields that are not written have their default.

    Raises:
        CnnirError: a field is unknown, missing, or of the wrong kind; or the dataclass itself refuses.
    """
    hints = _hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, object] = {}
    for name, (raw, at) in fields.items():
        if name not in known:
            raise UnknownNameError("attribute", name, known, at=at, see="" if known else f"'{owner}' has none.")
        try:
            values[name] = _convert(raw, hints[name])
        except MismatchError as error:
            if error.at is None:
                error.message = f"Attribute '{name}' of '{owner}': {error.message}"
                error.at = at
            raise
    for name, field in known.items():
        if (
            name not in values
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            raise MismatchError(f"Attribute '{name}' of '{owner}' is missing.", at=place)
    try:
        return cls(**values)
    except CnnirError as error:
        if error.at is None:
            error.at = place
        raise


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(raw: Raw, hint: Any) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        for argument in arguments:
            try:
                return _convert(raw, argument)
            except MismatchError as error:
                if error.at is not None:  # the right alternative, with a fault inside
                    raise
        raise _mismatch(raw, hint)
    if origin is tuple:
        if not isinstance(raw, tuple):
            raise _mismatch(raw, hint)
        kinds = arguments[:1] * len(raw) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(raw):
            raise _mismatch(raw, hint)
        return tuple(_convert(item, kind) for item, kind in zip(raw, kinds, strict=True))
    if isinstance(hint, type) and issubclass(hint, Enum):
        text = raw.text if isinstance(raw, Word) else raw
        for member in hint:
            if member.value == text:
                return member
        if isinstance(raw, Word):
            unknown = UnknownNameError("value", raw.text, [str(m.value) for m in hint])
            raise MismatchError(unknown.message, hints=unknown.hints)
        raise _mismatch(raw, hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(raw, Record) or raw.name != hint.__name__:
            raise _mismatch(raw, hint)
        place = next((at for _, at in raw.fields.values()), "")
        return build(hint, raw.name, raw.fields, place)
    # A bool is an int to Python, but not to a reader; an integer will do for a float.
    fits = type(raw) is hint or (hint is float and type(raw) is int) or (hint is type(None) and raw is None)
    if not fits:
        raise _mismatch(raw, hint)
    return raw


def _mismatch(raw: Raw, hint: Any) -> MismatchError:
    return MismatchError(f"expected {_describe(hint)}, got {_written(raw)}.")


_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "none",
}


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, arguments))
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
        return f"a list{count} (each {_describe(arguments[0])})"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(m.value) for m in hint)}"
    return _KINDS.get(hint) or f"{getattr(hint, '__name__', hint)}(...)"


def _written(raw: Raw) -> str:
    match raw:
        case None | bool():
            return {None: "none", True: "true", False: "false"}[raw]
        case tuple():
            return f"[{', '.join(map(_written, raw))}]"
        case Word(text):
            return text
        case Record(name):
            return f"{name}(...)"
        case str():
            return f"'{raw}'"
    return repr(raw)
