"""Where the user wrote something: the first frame outside this package."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from types import FrameType, TracebackType
from typing import ParamSpec, TypeVar

from cnnir.ir import Loc

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = __name__.rpartition(".")[0]
_CORE = _PACKAGE.partition(".")[0]
_LIBRARIES = tuple(path for key, path in sysconfig.get_paths().items() if key in ("stdlib", "purelib", "platlib"))
_SHORTHAND: ContextVar[Loc | None] = ContextVar("shorthand", default=None)


def display_path(filename: str, module: str = "") -> str:
    """How a source file is named in messages and graphs: never an absolute path, which would tie a saved graph
    to one machine. Files of this package are named alone, a user's relative to the working directory."""
    path = Path(filename)
    if module != _CORE and not module.startswith(_CORE + "."):
        try:
            return path.resolve().relative_to(Path.cwd()).as_posix()
        except (ValueError, OSError):
            pass
    return path.name


def user_loc() -> Loc:
    """The place outside this package that called into it (the call of a shorthand, while one runs)."""
    shorthand_loc = _SHORTHAND.get()
    if shorthand_loc is not None:
        return shorthand_loc
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    return Loc("<unknown>") if frame is None else _loc(frame, frame.f_lineno)


def function_loc(function: Callable[..., object]) -> Loc:
    """The line on which a Python function begins."""
    code = getattr(function, "__code__", None)
    if code is None:
        return Loc(getattr(function, "__name__", "<unknown>"))
    return Loc(display_path(code.co_filename, getattr(function, "__module__", "") or ""), code.co_firstlineno)


def user_mistake(trace: TracebackType | None) -> Loc | None:
    """The user's line that led to an exception; `None` if it was this project's code that did.

    Installed libraries do not count: their exception is the caller's mistake.
    """
    place: Loc | None = None
    while trace is not None:
        frame = trace.tb_frame
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == _CORE:
            place = None
        elif not frame.f_code.co_filename.startswith((*_LIBRARIES, "<frozen")):
            place = _loc(frame, trace.tb_lineno)
        trace = trace.tb_next
    return place


def shorthand(function: Callable[P, R]) -> Callable[P, R]:
    """Marks a function that only abbreviates a few layers: they count as written where it is called."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _SHORTHAND.set(user_loc())
        try:
            return function(*args, **kwargs)
        finally:
            _SHORTHAND.reset(token)

    return call


@contextmanager
def own_lines() -> Iterator[None]:
    """Inside, layers count as written on their own lines again (the body of a block used by a shorthand)."""
    token = _SHORTHAND.set(None)
    try:
        yield
    finally:
        _SHORTHAND.reset(token)


def _is_ours(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    generated = frame.f_code.co_filename == "<string>" and frame.f_code.co_name == "__init__"  # by dataclass
    return generated or module == _PACKAGE or module.startswith(_PACKAGE + ".")


def _loc(frame: FrameType, line: int) -> Loc:
    return Loc(display_path(frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))), line)
