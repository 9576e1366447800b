"""Pipelines as text: `fold-batch-norm,factorize-conv{kernel=5 layers=[conv1,conv2]},repeat(fold-pad,cse)`."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.passes.base import Pass, Repeat
from cnnir.passes.registry import find_pass
from cnnir.passes.registry import passes as registered

PIPELINES: Mapping[str, str] = types.MappingProxyType(
    {
        "none": "",
        # Dead readers would make values look shared, and equal nodes would share what each could swallow: both
        # go first. What folds into weights uncovers more of its kind, so it is repeated. Epilogues come last,
        # because a layer that carries an activation can take nothing more.
        "inference": (
            "dce,canonicalize,remove-identity,constant-folding,cse,"
            "repeat(fold-pad,fold-batch-norm,fold-affine,remove-identity),fuse-epilogue,dce"
        ),
        # Bag of Tricks: variant a becomes b, then c, then d.
        "resnet-d": "delay-downsampling,deepen-stem,avgpool-shortcut",
    }
)
"""Named pipelines: a name stands for its text wherever a pass may stand."""

DEFAULT_PIPELINE = "inference"
"""What is run where nobody asks for another."""

_TOKEN = re.compile(r'\s*(?:(?P<word>[^\s,{}()\[\]="]+)|(?P<string>"[^"]*")|(?P<mark>[,{}()\[\]=]))')


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a pass, for help texts."""

    name: str
    type: str
    default: object


def options_of(cls: type[Pass]) -> tuple[Option, ...]:
    """The options of a pass in the order of its fields, with their types in words."""
    hints = typing.get_type_hints(cls)
    default = cls()
    return tuple(Option(f.name, _words(hints[f.name]), getattr(default, f.name)) for f in dataclasses.fields(cls))


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The passes that `text` names, with typed options; `CnnirError` in one sentence for what it cannot be.

    Grammar: items separated by commas; an item is a pass `name`, `name{option=value option=value}`, a named
    pipeline, or `repeat(items)`. Options are separated by spaces or commas; a value is a word, a "quoted string"
    or a list `[a,b]`.
    """
    return _Parser(text).pipeline()


def format_pipeline(passes: tuple[Pass, ...]) -> str:
    """The text of a pipeline, which `parse_pipeline` turns back into it; options at their default are left out."""
    return ",".join(_format(p) for p in passes)


def _format(p: Pass) -> str:
    if isinstance(p, Repeat):
        return f"repeat({format_pipeline(p.passes)})"
    default = type(p)()
    chosen = [f.name for f in dataclasses.fields(p) if getattr(p, f.name) != getattr(default, f.name)]
    inside = " ".join(f"{name}={_format_value(getattr(p, name))}" for name in chosen)
    return f"{p.name}{{{inside}}}" if inside else p.name


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_format_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if value is None:
        return "none"
    if isinstance(value, str) and (not re.fullmatch(r'[^\s,{}()\[\]="]+', value) or value == "none"):
        return f'"{value}"'
    return repr(value) if isinstance(value, float) else str(value)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split(text))
        self._i = 0

    @staticmethod
    def _split(text: str) -> Iterator[str]:
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise CnnirError(f"Pipeline '{text}' has an unclosed quote at character {at + 1}.")
            yield found.group().strip()
            at = found.end()

    def pipeline(self) -> tuple[Pass, ...]:
        result = self._items(end="")
        if self._peek():
            raise self._unexpected("a comma or the end")
        return tuple(result)

    def _items(self, end: str) -> list[Pass]:
        result: list[Pass] = []
        if self._peek() == end:
            return result
        while True:
            result += self._item()
            if self._peek() != ",":
                return result
            self._i += 1

    def _item(self) -> tuple[Pass, ...]:
        name = self._word("the name of a pass")
        if name == Repeat.name and self._peek() == "(":
            self._i += 1
            members = self._items(end=")")
            self._expect(")")
            try:
                return (Repeat(tuple(members)),)
            except ValueError as error:
                raise CnnirError(f"Cannot repeat '{format_pipeline(tuple(members))}': {error}.") from error
        if name in PIPELINES and self._peek() != "{":
            return parse_pipeline(PIPELINES[name])
        try:
            cls = find_pass(name)
        except UnknownNameError as error:
            known = {p.name for p in registered()} | set(PIPELINES) | {Repeat.name}
            raise UnknownNameError("pass", name, known, see="See 'cnnir passes' for the list.") from error
        return (_build(cls, self._options()),)

    def _options(self) -> dict[str, str | list[str]]:
        options: dict[str, str | list[str]] = {}
        if self._peek() != "{":
            return options
        self._i += 1
        while self._peek() != "}":
            name = self._word("the name of an option")
            self._expect("=")
            if name in options:
                raise CnnirError(f"Pipeline '{self._text}' gives option '{name}' twice.")
            options[name] = self._value()
            if self._peek() == ",":
                self._i += 1
        self._i += 1
        return options

    def _value(self) -> str | list[str]:
        if self._peek() != "[":
            return self._word("a value")
        self._i += 1
        values: list[str] = []
        while self._peek() != "]":
            values.append(self._word("a value"))
            if self._peek() == ",":
                self._i += 1
        self._i += 1
        return values

    def _peek(self) -> str:
        return self._tokens[self._i] if self._i < len(self._tokens) else ""

    def _word(self, expected: str) -> str:
        token = self._peek()
        if not token or (len(token) == 1 and token in ",{}()[]="):
            raise self._unexpected(expected)
        self._i += 1
        # A quoted string keeps its quotes here, so that "none" can be told from none.
        return token

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise self._unexpected(f"'{mark}'")
        self._i += 1

    def _unexpected(self, expected: str) -> CnnirError:
        got = f"'{self._peek()}'" if self._peek() else "the end"
        return CnnirError(f"Pipeline '{self._text}': expected {expected}, got {got}.")


def _build(cls: type[Pass], given: Mapping[str, str | list[str]]) -> Pass:
    where = f"pass '{cls.name}'"
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            if not known:
                raise CnnirError(f"Unknown option '{name}': the pass has none.", at=where)
            raise UnknownNameError("option", name, known, at=where)
        try:
            values[name] = _convert(text, hints[name])
        except ValueError as error:
            shown = text if isinstance(text, str) else f"[{','.join(text)}]"
            raise CnnirError(
                f"Option '{name}': expected {_words(hints[name])}, got '{shown}'.", at=where
            ) from error
    try:
        return cls(**values)
    except ValueError as error:
        raise CnnirError(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.", at=where) from error


def _convert(text: str | list[str], hint: Any) -> Any:
    """`text` as a value of the type `hint`; `ValueError` if it is none."""
    arguments = typing.get_args(hint)
    if _is_union(hint):
        if text == "none" and types.NoneType in arguments:
            return None
        for argument in arguments:
            if argument is not types.NoneType:
                try:
                    return _convert(text, argument)
                except ValueError:
                    continue
        raise ValueError(text)
    if typing.get_origin(hint) is tuple:
        items = text if isinstance(text, list) else [text]
        kinds = [arguments[0]] * len(items) if arguments[-1] is ... else list(arguments)
        if len(kinds) != len(items):
            raise ValueError(text)
        return tuple(_convert(item, kind) for item, kind in zip(items, kinds, strict=True))
    if isinstance(text, list):
        raise ValueError(text)
    quoted = text.startswith('"')
    if hint is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if hint is str:
        return text[1:-1] if quoted else text
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(text[1:-1] if quoted else text)
    if hint in (int, float):
        return hint(text)
    raise TypeError(f"options of type {hint} cannot be written in a pipeline")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _words(hint: Any) -> str:
    """A type in the words of an error message."""
    arguments = typing.get_args(hint)
    if _is_union(hint):
        return " or ".join("'none'" if a is types.NoneType else _words(a) for a in arguments)
    if typing.get_origin(hint) is tuple:
        if arguments[-1] is ...:
            return f"a list of {_words(arguments[0])}"
        return f"[{', '.join(_words(a) for a in arguments)}]"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(str(member.value) for member in hint)
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a word"}
    return names.get(hint, str(hint))
