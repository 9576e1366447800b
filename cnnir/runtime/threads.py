"""How many threads run a model, and how TVM's pool of them is told.

Each thread that calls a model gets a pool of its own from TVM at its first call (workers sleep between calls,
and end with the thread). What the pool does is read from the environment when it starts, so it is set here,
before that, unless the user has set it:

- `TVM_NUM_THREADS`: the workers of a pool; by default the cores this process may use. TVM's own default is half
  the cores of the machine, whatever the process may use.
- `TVM_THREAD_POOL_SPIN_COUNT`: how long an idle worker polls before it sleeps. TVM's default burns a core for
  about 110 ms after every call; 3000 burns about 1 ms, which still bridges the gaps between two layers.
- `TVM_BIND_THREADS`: 0, because binding would also bind the thread of the caller, to the first cores of the
  machine, where every other process would bind too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from cnnir.errors import CnnirError

SPIN_COUNT = 3000


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_pool_defaults() -> None:
    """Sets what is not set of the environment that TVM's pools read."""
    os.environ.setdefault("TVM_NUM_THREADS", str(available_cores()))
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", str(SPIN_COUNT))
    os.environ.setdefault("TVM_BIND_THREADS", "0")


def pool_size() -> int:
    """Workers of a pool, as TVM will read it."""
    try:
        return max(1, int(os.environ["TVM_NUM_THREADS"]))
    except (KeyError, ValueError):
        return available_cores()


def choose(threads: int | None) -> int:
    """The number of threads for a model: what was asked for, or the size of the pool.

    Raises:
        CnnirError: fewer than one, or more than the pool can have.
    """
    limit = pool_size()
    if threads is None:
        return limit
    if threads < 1:
        raise CnnirError(f"Expected at least 1 thread, got {threads}.")
    if threads > limit:
        raise CnnirError(
            f"Expected at most {limit} threads, got {threads}.",
            notes=[f"This process may use {available_cores()} cores."],
            hints=[f"Set TVM_NUM_THREADS={threads} in the environment to use more threads than cores."],
        )
    return threads


class ThreadPools:
    """The pools of this process: tells TVM, in the calling thread, how many workers a call uses.

    Args:
        configure: TVM's `runtime.config_threadpool(mode, threads)`.
        count: TVM's `runtime.NumThreads()`: the workers that the pool of the calling thread uses.
    """

    def __init__(self, configure: Callable[[int, int], None], count: Callable[[], int]) -> None:
        self._configure = configure
        self._count = count
        self._here = threading.local()
        self._process: int | None = None

    def use(self, threads: int) -> None:
        """Makes the next calls of this thread run on `threads` workers, the caller being one of them.

        Raises:
            CnnirError: the pool cannot have as many, or the process was forked from one that had a pool.
        """
        if getattr(self._here, "threads", None) == threads and self._process == os.getpid():
            return
        if self._process is None:
            self._process = os.getpid()
        elif self._process != os.getpid():
            raise CnnirError(
                "This process was forked from one that had already run a model, so its worker threads are gone.",
                hints=["Start processes with the 'spawn' or 'forkserver' method, or fork before the first call."],
            )
        self._configure(1, threads)
        if (count := self._count()) != threads:
            raise CnnirError(
                f"Expected a pool of {threads} threads, got {count}: something else had started it before.",
                hints=[f"Set TVM_NUM_THREADS={threads} in the environment."],
            )
        self._here.threads = threads
