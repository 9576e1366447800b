"""The parent's end of a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import cnnir
from cnnir.errors import CnnirError

WORKER = (sys.executable, "-P", "-m", "cnnir.bench.worker")


class Worker:
    """One worker: asks it and gives it back its errors as `CnnirError`, whatever way it fails.

    Args:
        name: what messages call it.
        threads: number of threads, also told to it through the environment variables of common libraries.
        command: another program that speaks the protocol of `cnnir.bench.worker`.
    """

    def __init__(self, name: str, threads: int, *, command: Sequence[str] = WORKER) -> None:
        self.name = name
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(threads),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name=f"answers of {name}", daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # the pipe is closed while it is read
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            CnnirError: an error that the worker reports; none within `timeout` seconds; one that is no JSON object;
                a worker that has ended. Except after a reported error the worker is gone then.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._ended() from None
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise CnnirError(f"'{self.name}' did not answer '{request['do']}' within {timeout:g} s.") from None
        if line is None:
            raise self._ended()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self.close()
            raise CnnirError(
                f"'{self.name}' answered '{request['do']}' with no JSON object: '{line.strip()[:80]}'."
            )
        if "error" in answer:
            error = answer["error"]
            raise CnnirError(
                f"'{self.name}' failed: {error['message']}",
                at=error["at"],
                notes=error["notes"],
                hints=error["hints"],
            )
        return answer

    def _ended(self) -> CnnirError:
        code = self._process.wait()
        if self._log.closed:
            return CnnirError(f"'{self.name}' has ended already.")
        self._log.seek(0)
        last = self._log.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.close()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return CnnirError(
            f"'{self.name}' ended before it answered ({how}).", notes=[f"Its last words: {last}"] * bool(last)
        )

    def close(self) -> None:
        """Ends the process: politely for a second, then not."""
        if self._log.closed:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _environment(threads: int) -> dict[str, str]:
    env = dict(os.environ)
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[name] = str(threads)
    # A run from a checkout that is not installed: the worker must find the same package.
    source = Path(cnnir.__file__).parents[1]
    if source.name not in ("site-packages", "dist-packages"):
        env["PYTHONPATH"] = os.pathsep.join([str(source), *filter(None, [env.get("PYTHONPATH")])])
    return env
