"""The process of one engine: JSON lines in on standard input, JSON lines out on standard output.

Requests, each answered by one line, and their answers:

- `{"do": "load", ...LoadRequest}`: `{"version", "precision", "inputs": [{"name", "shape", "dtype"}]}`
- `{"do": "prepare", "inputs": npz, "outputs": npz, "warmup": n}`: `{}`; members of both are called `0`, `1`, ...
- `{"do": "turn", "calls": n, "warmup": n}`: `{"times_ms": [...]}`
- `{"do": "stop"}`: `{}`, and the process ends, as it does when its input ends

An error is `{"error": {"message", "at", "notes", "hints"}}`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from cnnir.bench.engine import Engine, LoadRequest, MakeEngine
from cnnir.errors import CnnirError
from cnnir.ir import Array


class _Session:
    """The state between requests: at most one engine."""

    def __init__(self, make: MakeEngine) -> None:
        self._make = make
        self._loaded: Engine | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "load":
                self._loaded = self._make(LoadRequest.from_dict(request))
                inputs = [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in self._loaded.inputs]
                return {"version": self._loaded.version, "precision": self._loaded.precision, "inputs": inputs}
            case "prepare":
                self._prepare(request["inputs"], request["outputs"], request["warmup"])
                return {}
            case "turn":
                return {"times_ms": self._turn(request["calls"], request["warmup"])}
            case "stop":
                return {}
            case other:
                raise ValueError(f"unknown request '{other}'")

    @property
    def _engine(self) -> Engine:
        if self._loaded is None:
            raise ValueError("nothing is loaded")
        return self._loaded

    def _prepare(self, inputs: str, outputs: str, warmup: int) -> None:
        with np.load(inputs, allow_pickle=False) as archive:
            arrays = [_aligned(archive[str(i)]) for i in range(len(archive.files))]
        self._engine.prepare(arrays)
        for _ in range(max(1, warmup)):
            self._engine.run()
        results = self._engine.outputs()
        members: dict[str, Any] = {str(i): np.asarray(value) for i, value in enumerate(results.values())}
        np.savez(outputs, **members)

    def _turn(self, calls: int, warmup: int) -> list[float]:
        run = self._engine.run
        times = []
        # A collection in the middle of a call would be charged to the engine.
        gc.collect()
        gc.disable()
        try:
            for _ in range(warmup):
                run()
            for _ in range(calls):
                begin = time.perf_counter_ns()
                run()
                times.append((time.perf_counter_ns() - begin) / 1e6)
        finally:
            gc.enable()
        return times


def serve(make: MakeEngine, requests: IO[str], answers: IO[str]) -> None:
    """Answers requests until `stop` or the end of `requests`."""
    session = _Session(make)
    for line in requests:
        request = json.loads(line)
        try:
            answer = session.answer(request)
        except CnnirError as error:
            answer = {"error": _error(error)}
        except Exception as error:  # whatever an engine raises must reach the parent as a sentence
            traceback.print_exc()
            text = " ".join(str(error).split())[:500]
            answer = {"error": _error(CnnirError(f"{type(error).__name__}: {text}"))}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if request["do"] == "stop":
            return


def main(make: MakeEngine) -> None:
    """Serves on the process's own streams; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(make, sys.stdin, answers)


def _error(error: CnnirError) -> dict[str, Any]:
    return {"message": error.message, "at": error.at, "notes": error.notes, "hints": error.hints}


def _aligned(array: Array, alignment: int = 64) -> Array:
    """A copy of `array` that begins on a cache line, so that no engine has to copy it again."""
    room = np.empty(array.nbytes + alignment, np.uint8)
    start = -room.ctypes.data % alignment
    copy: Array = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


if __name__ == "__main__":
    from cnnir.bench.engines import make_engine

    main(make_engine)
