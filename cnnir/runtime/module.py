"""A loaded model: checks what it is given, cuts it into compiled batches, and hands these to its executor."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnir.artifact import Manifest, TensorSpec
from cnnir.errors import CnnirError
from cnnir.runtime.executor import Executor
from cnnir.runtime.memory import aligned_empty

Array = NDArray[Any]


class Module:
    """A compiled network, ready to run (from `cnnir.runtime.load`).

    Calls from several threads are safe and take turns: one request owns the arena at a time. For requests side
    by side, load the artifact once for each; the weights are mapped, so the copies share them.

    The batch may differ from the compiled one: it is run in slices, the last padded with zeros.

    Attributes:
        manifest: what the artifact says about itself.
        inputs, outputs: name, element type and compiled shape, in order.
        threads: how many a call uses, the caller being one.
    """

    def __init__(self, manifest: Manifest, executor: Executor) -> None:
        self.manifest = manifest
        self.inputs: tuple[TensorSpec, ...] = manifest.inputs
        self.outputs: tuple[TensorSpec, ...] = manifest.outputs
        self.threads = executor.threads
        self._executor = executor
        self._lock = threading.Lock()
        self._padded: dict[int, Array] = {}

    def __repr__(self) -> str:
        return f"<cnnir.runtime.Module '{self.manifest.model}' for {self.manifest.target}>"

    def __call__(self, *arrays: Array, **named: Array) -> dict[str, Array]:
        """Runs the network on NumPy arrays, by position or by name; returns new arrays by output name.

        Raises:
            CnnirError: too few or too many inputs, an unknown name, or another element type or shape.
        """
        inputs, batch = self._check_inputs(self._bind(arrays, named))
        results = {spec.name: aligned_empty(_shape(spec, batch), spec.dtype) for spec in self.outputs}
        self._run(inputs, list(results.values()), batch)
        return results

    def run_into(self, inputs: Sequence[Array] | Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Runs the network and writes into `outputs`; allocates no array if the batch is a multiple of the
        compiled one and every array is C-contiguous, writable and begins at a multiple of 64 bytes.

        Raises:
            CnnirError: as for a call; also for an output that is missing, unknown, read-only or does not fit.
        """
        named = inputs if isinstance(inputs, Mapping) else {}
        arrays = () if isinstance(inputs, Mapping) else inputs
        checked, batch = self._check_inputs(self._bind(arrays, named))
        targets = self._match("output", self.outputs, outputs)
        for spec, array in zip(self.outputs, targets, strict=True):
            _check("output", spec, array, _shape(spec, batch))
            if not array.flags.writeable:
                raise CnnirError(f"The output '{spec.name}' is read-only, expected an array to write to.")
        self._run(checked, targets, batch)

    def _bind(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> list[Array]:
        if len(arrays) > len(self.inputs):
            raise self._count_error(len(arrays) + len(named))
        given = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=False)}
        if twice := sorted(given.keys() & named.keys()):
            raise CnnirError(f"The input '{twice[0]}' is given twice, by position and by name.")
        return self._match("input", self.inputs, {**given, **named})

    def _match(self, what: str, specs: tuple[TensorSpec, ...], arrays: Mapping[str, Array]) -> list[Array]:
        names = [spec.name for spec in specs]
        for name in arrays:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"Did you mean '{near[0]}'?" if near else f"The {what}s are {_listed(names)}."
                raise CnnirError(f"'{self.manifest.model}' has no {what} '{name}'.", hints=[hint])
        if missing := [name for name in names if name not in arrays]:
            if what == "input" and not arrays:
                raise self._count_error(0)
            raise CnnirError(f"The {what} {_listed(missing)} of '{self.manifest.model}' is missing.")
        return [arrays[name] for name in names]

    def _count_error(self, count: int) -> CnnirError:
        names = [spec.name for spec in self.inputs]
        expected = f"{len(names)} input{'s' if len(names) != 1 else ''} ({_listed(names)})"
        return CnnirError(f"Expected {expected} for '{self.manifest.model}', got {count}.")

    def _check_inputs(self, arrays: list[Array]) -> tuple[list[Array], int]:
        """The arrays, checked, and their batch (0 if none of them is batched)."""
        batch: int | None = None
        for spec, array in zip(self.inputs, arrays, strict=True):
            size = array.shape[0] if spec.batched and isinstance(array, np.ndarray) and array.ndim else 0
            _check("input", spec, array, _shape(spec, size))
            if not spec.batched:
                continue
            if batch is not None and size != batch:
                raise CnnirError(
                    f"Expected batch {batch} for the input '{spec.name}' as for the others, got {size}."
                )
            batch = size
        return arrays, self.manifest.batch if batch is None else batch

    def _run(self, inputs: Sequence[Array], outputs: Sequence[Array], batch: int) -> None:
        step = self.manifest.batch
        with self._lock:
            if batch == step:
                self._executor.run(inputs, outputs)
                return
            for begin in range(0, batch - step + 1, step):
                end = begin + step
                self._executor.run(
                    _slices(self.inputs, inputs, begin, end), _slices(self.outputs, outputs, begin, end)
                )
            if rest := batch % step:
                self._run_rest(inputs, outputs, batch - rest, rest)

    def _run_rest(self, inputs: Sequence[Array], outputs: Sequence[Array], begin: int, rest: int) -> None:
        """The last slice, through buffers of the compiled batch."""
        padded_inputs = []
        for spec, array in zip(self.inputs, inputs, strict=True):
            if spec.batched:
                buffer = self._buffer(spec)
                buffer[:rest] = array[begin:]
                buffer[rest:] = 0
                array = buffer
            padded_inputs.append(array)
        padded_outputs = [
            self._buffer(spec) if spec.batched else array for spec, array in zip(self.outputs, outputs, strict=True)
        ]
        self._executor.run(padded_inputs, padded_outputs)
        for spec, array, padded in zip(self.outputs, outputs, padded_outputs, strict=True):
            if spec.batched:
                array[begin:] = padded[:rest]

    def _buffer(self, spec: TensorSpec) -> Array:
        # Equal specs are one input and one output of a name at most: keyed by identity they stay apart.
        key = id(spec)
        if key not in self._padded:
            self._padded[key] = aligned_empty(spec.shape, spec.dtype)
        return self._padded[key]


def _shape(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return (batch, *spec.shape[1:]) if spec.batched else spec.shape


def _slices(specs: Iterable[TensorSpec], arrays: Iterable[Array], begin: int, end: int) -> list[Array]:
    return [array[begin:end] if spec.batched else array for spec, array in zip(specs, arrays, strict=True)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _check(what: str, spec: TensorSpec, array: Array, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise CnnirError(
            f"Expected a NumPy array for the {what} '{spec.name}', got '{type(array).__name__}'.",
            hints=["Convert it with numpy.asarray."],
        )
    if array.dtype != np.dtype(spec.dtype):
        raise CnnirError(
            f"Expected {spec.dtype} for the {what} '{spec.name}', got {array.dtype}.",
            hints=[f"Convert it with array.astype('{spec.dtype}')."],
        )
    if array.shape != shape or (spec.batched and not array.ndim):
        sizes = ", ".join(["N" if spec.batched and what == "input" else str(shape[0]), *map(str, shape[1:])])
        raise CnnirError(
            f"Expected shape [{sizes}] for the {what} '{spec.name}', got [{', '.join(map(str, array.shape))}]."
        )
