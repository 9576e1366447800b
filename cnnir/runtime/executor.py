"""What runs one compiled batch: an interface, and the native x86 implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnir.artifact import Artifact, TvmExecution
from cnnir.runtime import threads as thread_count
from cnnir.runtime.ffi import Library, as_tensor, tvm_runtime
from cnnir.runtime.memory import aligned_empty, huge_empty, is_direct

Array = NDArray[Any]


class Executor(Protocol):
    """Runs arrays of exactly the compiled shapes and types; not safe for two calls at once."""

    threads: int

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Reads `inputs`, writes `outputs`."""


class TvmExecutor:
    """The packed function of an artifact, its mapped weights, and one arena.

    Arrays are used where they lie if generated code can (`is_direct`), else through buffers that are made once.
    """

    def __init__(self, artifact: Artifact, execution: TvmExecution, threads: int | None) -> None:
        self._runtime = tvm_runtime()
        self.threads = thread_count.choose(threads)
        self._library = Library(artifact.member(execution.library), execution.entry)
        self._weights = artifact.member(execution.weights)
        self._arena = huge_empty((execution.arena_bytes + self.threads * execution.scratch_bytes) // 4)
        self._fixed = [as_tensor(self._runtime, self._weights), as_tensor(self._runtime, self._arena)]
        specs = [*artifact.manifest.inputs, *artifact.manifest.outputs]
        self._specs = specs
        self._staging: list[Array | None] = [None] * len(specs)

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        direct: list[Array] = []
        for position, array in enumerate((*inputs, *outputs)):
            if is_direct(array):
                direct.append(array)
                continue
            buffer = self._buffer(position)
            if position < len(inputs):
                np.copyto(buffer, array)
            direct.append(buffer)
        tensors = [self._runtime.ffi.from_dlpack(array) for array in direct]
        n = len(inputs)
        self._runtime.pools.use(self.threads)
        self._library.entry(*tensors[:n], *self._fixed, *tensors[n:], self.threads)
        for array, used in zip(outputs, direct[n:], strict=True):
            if used is not array:
                np.copyto(array, used)

    def _buffer(self, position: int) -> Array:
        buffer = self._staging[position]
        if buffer is None:
            spec = self._specs[position]
            buffer = self._staging[position] = aligned_empty(spec.shape, spec.dtype)
        return buffer
