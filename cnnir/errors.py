"""The one exception a user ever sees: a sentence, a place, notes (why) and hints (what to do)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar


class CnnirError(Exception):
    """A mistake that the user can mend.

    Args:
        message: one sentence saying what happened, names in single quotes.
        at: where it happened, printed as is (`resnet.py:41`, `model.onnx: node 'conv1'`).
        notes: why it happened.
        hints: what to do about it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self, message: str, *, at: object = None, notes: Sequence[str] = (), hints: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = None if at is None else str(at)
        self.notes = tuple(notes)
        self.hints = tuple(hints)

    def __str__(self) -> str:
        place = f"{self.at}: " if self.at else ""
        return " ".join([place + self.message, *self.notes, *self.hints])

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process boundaries (benchmark workers); keyword arguments need this.
        return _rebuild, (type(self), self.message, self.at, self.notes, self.hints)


def _rebuild(
    cls: type[CnnirError], message: str, at: str | None, notes: tuple[str, ...], hints: tuple[str, ...]
) -> CnnirError:
    error = cls.__new__(cls)
    CnnirError.__init__(error, message, at=at, notes=notes, hints=hints)
    return error


class UnknownNameError(CnnirError):
    """A name that no registry knows; suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, at: object = None, see: str = "") -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hints = [f"Did you mean '{near[0]}'?"] if near else []
        if see:
            hints.append(see)
        elif not near and len(known) <= 12:
            hints.append(f"Known: {', '.join(known)}.")
        super().__init__(f"Unknown {kind} '{name}'.", at=at, hints=hints)


class VerificationError(CnnirError):
    """A graph that breaks an invariant of the IR: a bug of a pass or a frontend, never of the user."""

    exit_code = 1


class ShapeError(CnnirError):
    """Attributes and input types that do not fit each other (raised by `Operator.infer`)."""
