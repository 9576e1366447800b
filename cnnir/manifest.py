"""What an artifact says about itself: `manifest.json`, typed, parsed strictly.

The manifest holds no times, no paths and no name of a machine: the same compilation gives the same bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias, TypeVar

from cnnir import __version__
from cnnir.errors import CnnirError

# Mapping and Sequence rather than dict and list: nothing here is written after it was built.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

FORMAT_VERSION = (1, 0)
"""Major: readers of another major version refuse the file. Minor: fields that older readers may ignore."""

DTYPES = ("float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "int64", "bool")
"""Element types of inputs, outputs and members, by their NumPy names."""

MEMBER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*\Z")

T = TypeVar("T")


class ManifestError(CnnirError):
    """A manifest that does not follow the format."""


class Fields:
    """The members of a JSON object, taken one by one; `done` refuses what was not asked for."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, Mapping):
            raise ManifestError(f"Expected an object at '{where}', got {_kind(value)}.")
        self._left: dict[str, Json] = dict(value)
        self.where = where

    def take(self, name: str) -> Json:
        if name not in self._left:
            raise ManifestError(f"The field '{name}' is missing at '{self.where}'.")
        return self._left.pop(name)

    def string(self, name: str) -> str:
        return self._typed(name, str)

    def boolean(self, name: str) -> bool:
        return self._typed(name, bool)

    def integer(self, name: str, minimum: int = 0) -> int:
        value = self._typed(name, int)
        if value < minimum:
            raise ManifestError(f"Expected an integer of at least {minimum} at '{self.where}.{name}', got {value}.")
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        return self.items(name, _string)

    def items(self, name: str, parse: Callable[[Json, str], T]) -> tuple[T, ...]:
        where = f"{self.where}.{name}"
        value = self.take(name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ManifestError(f"Expected a list at '{where}', got {_kind(value)}.")
        return tuple(parse(item, f"{where}[{i}]") for i, item in enumerate(value))

    def mapping(self, name: str) -> Mapping[str, Json]:
        value = self.take(name)
        if not isinstance(value, Mapping):
            raise ManifestError(f"Expected an object at '{self.where}.{name}', got {_kind(value)}.")
        return value

    def optional_mapping(self, name: str) -> Mapping[str, Json] | None:
        if name in self._left and self._left[name] is None:
            self._left.pop(name)
            return None
        return self.mapping(name)

    def done(self, allow_unknown: bool = False) -> None:
        if self._left and not allow_unknown:
            names = ", ".join(f"'{name}'" for name in sorted(self._left))
            raise ManifestError(f"Unknown fields at '{self.where}': {names}.")

    def _typed(self, name: str, kind: type[T]) -> T:
        value = self.take(name)
        # `bool` is an `int` to Python, never to the format.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ManifestError(f"Expected {_KINDS[kind]} at '{self.where}.{name}', got {_kind(value)}.")
        return value


_KINDS: Mapping[type, str] = {str: "a string", int: "an integer", bool: "true or false"}


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, Mapping) else "a list"


def _string(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise ManifestError(f"Expected a string at '{where}', got {_kind(value)}.")
    return value


def _size(value: Json, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ManifestError(f"Expected an integer of at least 0 at '{where}', got {value!r}.")
    return value


def _dtype(name: str, where: str) -> str:
    if name not in DTYPES:
        raise ManifestError(f"Unknown element type '{name}' at '{where}', expected one of {', '.join(DTYPES)}.")
    return name


def _member(name: str, where: str) -> str:
    if not MEMBER_NAME.match(name):
        raise ManifestError(f"'{name}' at '{where}' is no name of a member.")
    return name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: `shape` is the compiled one; axis 0 is the batch if `batched`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool = True

    def __post_init__(self) -> None:
        _dtype(self.dtype, self.name)
        if any(size < 1 for size in self.shape) or (self.batched and not self.shape):
            raise ManifestError(f"The shape {list(self.shape)} of '{self.name}' is not one that can be compiled.")

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Json]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), "batched": self.batched}

    @classmethod
    def from_json(cls, value: Json, where: str) -> TensorSpec:
        f = Fields(value, where)
        spec = cls(f.string("name"), f.string("dtype"), f.items("shape", _size), f.boolean("batched"))
        f.done()
        return spec


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One pass that the compiler ran: its name, its options and its contract as they are printed."""

    name: str
    options: str = ""
    contract: str = "exact"

    def to_json(self) -> dict[str, Json]:
        return {"name": self.name, "options": self.options, "contract": self.contract}

    @classmethod
    def from_json(cls, value: Json, where: str) -> PipelineStep:
        f = Fields(value, where)
        step = cls(f.string("name"), f.string("options"), f.string("contract"))
        f.done()
        return step


@dataclass(frozen=True, slots=True)
class TvmExecution:
    """Native x86 code behind one packed function.

    The function takes, in this order: the inputs, the weights (float32, 1-D), the arena (float32, 1-D), the
    outputs, and the number of threads. Every tensor starts at a multiple of 64 bytes.

    Attributes:
        library: the member that is a shared object.
        weights: the member with the packed weights, float32.
        arena_bytes: length of the memory that one request needs for activations; a multiple of 4.
        entry: name of the packed function.
        scratch_bytes: length of what the arena has behind that for each thread; a multiple of 4.
    """

    kind: ClassVar[str] = "tvm-x86"
    library: str
    weights: str
    arena_bytes: int
    entry: str = "cnnir_main"
    scratch_bytes: int = 0

    def __post_init__(self) -> None:
        if self.arena_bytes <= 0 or self.arena_bytes % 4:
            raise ManifestError(f"Expected an arena of whole float32 elements, got {self.arena_bytes} bytes.")
        if self.scratch_bytes < 0 or self.scratch_bytes % 4:
            raise ManifestError(
                f"Expected scratch memory of whole float32 elements, got {self.scratch_bytes} bytes."
            )

    @property
    def members(self) -> tuple[str, ...]:
        return (self.library, self.weights)

    def to_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "library": self.library,
            "weights": self.weights,
            "arena_bytes": self.arena_bytes,
            "scratch_bytes": self.scratch_bytes,
            "entry": self.entry,
        }


@dataclass(frozen=True, slots=True)
class OnnxExecution:
    """An ONNX model that ONNX Runtime executes: a target that the user asks for by name."""

    kind: ClassVar[str] = "onnx"
    model: str = "model.onnx"

    @property
    def members(self) -> tuple[str, ...]:
        return (self.model,)

    def to_json(self) -> dict[str, Json]:
        return {"kind": self.kind, "model": self.model}


Execution: TypeAlias = TvmExecution | OnnxExecution


def _execution(value: Json, where: str) -> Execution:
    f = Fields(value, where)
    kind = f.string("kind")
    execution: Execution
    if kind == TvmExecution.kind:
        library, weights = (_member(f.string(name), f"{where}.{name}") for name in ("library", "weights"))
        arena_bytes, scratch_bytes = f.integer("arena_bytes", 1), f.integer("scratch_bytes", 0)
        execution = TvmExecution(library, weights, arena_bytes, f.string("entry"), scratch_bytes)
    elif kind == OnnxExecution.kind:
        execution = OnnxExecution(_member(f.string("model"), f"{where}.model"))
    else:
        raise ManifestError(f"Unknown kind of execution '{kind}', expected 'tvm-x86' or 'onnx'.")
    f.done()
    return execution


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member of the file: sha256 (hexadecimal), length in bytes; element type and shape of an array."""

    sha256: str
    bytes: int
    dtype: str = "uint8"
    shape: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {"sha256": self.sha256, "bytes": self.bytes, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Json, where: str) -> MemberInfo:
        f = Fields(value, where)
        sha256, size = f.string("sha256"), f.integer("bytes")
        info = cls(sha256, size, _dtype(f.string("dtype"), where), f.items("shape", _size))
        f.done()
        return info


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that a user of the artifact has to know.

    Attributes:
        model: name of the network.
        inputs, outputs: in the order of the graph, with the compiled batch.
        execution: how the members are run.
        batch: the compiled batch.
        precision: arithmetic of the kernels (`fp32`, `bf16`, ...); inputs and outputs have their own types.
        target: the name that the compiler was given (`x86-avx512`, `onnx`).
        cpu_features: what the code needs, named as in `/proc/cpuinfo` (`avx2`, `fma`, `avx512f`).
        pipeline: the passes that ran, in order.
        preprocessing: how an image becomes the input, as the command line stores and reads it.
        labels: class names, by the index of the output.
        class_offset: number of leading outputs that stand for no class (1 for a model with a background class).
        weights_from: where the weights come from, for a reader (`random, seed 0`).
        validation: what the compiler measured of its own output; `None` if it did not.
        benchmark: latency results stored with the artifact.
        plan: kernels and memory plan, for reports; the runtime does not read it.
        members: hash, length and type of every member; filled in by `cnnir.artifact.write`.
    """

    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    execution: Execution
    target: str
    batch: int = 1
    precision: str = "fp32"
    cpu_features: tuple[str, ...] = ()
    pipeline: tuple[PipelineStep, ...] = ()
    preprocessing: Mapping[str, Json] | None = None
    labels: tuple[str, ...] = ()
    class_offset: int = 0
    weights_from: str = ""
    validation: Mapping[str, Json] | None = None
    benchmark: Mapping[str, Json] | None = None
    plan: Mapping[str, Json] | None = None
    cnnir_version: str = __version__
    format_version: tuple[int, int] = FORMAT_VERSION
    members: Mapping[str, MemberInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for spec in (*self.inputs, *self.outputs):
            if spec.batched and spec.shape[0] != self.batch:
                raise ManifestError(
                    f"Expected batch {self.batch} on axis 0 of '{spec.name}', got shape {list(spec.shape)}."
                )
        names = [spec.name for spec in self.inputs]
        if len(set(names)) != len(names) or len({spec.name for spec in self.outputs}) != len(self.outputs):
            raise ManifestError(f"Two inputs or two outputs of '{self.model}' have one name.")

    def with_members(self, members: Mapping[str, MemberInfo]) -> Manifest:
        return replace(self, members=dict(members))

    def to_json(self) -> dict[str, Json]:
        """As `json.dumps` takes it; what `from_json` reads."""
        return {
            "format_version": ".".join(map(str, self.format_version)),
            "cnnir_version": self.cnnir_version,
            "model": self.model,
            "batch": self.batch,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "precision": self.precision,
            "target": self.target,
            "cpu_features": list(self.cpu_features),
            "pipeline": [step.to_json() for step in self.pipeline],
            "preprocessing": self.preprocessing,
            "labels": list(self.labels),
            "class_offset": self.class_offset,
            "weights_from": self.weights_from,
            "validation": self.validation,
            "benchmark": self.benchmark,
            "plan": self.plan,
            "execution": self.execution.to_json(),
            "members": {name: info.to_json() for name, info in self.members.items()},
        }

    def dumps(self) -> bytes:
        """Canonical UTF-8 text: sorted keys, no NaN, a line feed at the end."""
        text = json.dumps(self.to_json(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"

    @classmethod
    def loads(cls, text: bytes) -> Manifest:
        """Parses what `dumps` wrote.

        Raises:
            ManifestError: no JSON, another major version, a field that is missing, of another type or unknown.
        """
        try:
            value: Json = json.loads(text)
        except (ValueError, RecursionError):
            raise ManifestError("The manifest is not JSON.") from None
        return cls.from_json(value)

    @classmethod
    def from_json(cls, value: Json) -> Manifest:
        f = Fields(value, "manifest")
        version = _version(f.string("format_version"))
        members = {
            _member(name, "manifest.members"): MemberInfo.from_json(info, f"manifest.members.{name}")
            for name, info in f.mapping("members").items()
        }
        manifest = cls(
            format_version=version,
            cnnir_version=f.string("cnnir_version"),
            model=f.string("model"),
            batch=f.integer("batch", 1),
            inputs=f.items("inputs", TensorSpec.from_json),
            outputs=f.items("outputs", TensorSpec.from_json),
            precision=f.string("precision"),
            target=f.string("target"),
            cpu_features=f.strings("cpu_features"),
            pipeline=f.items("pipeline", PipelineStep.from_json),
            preprocessing=f.optional_mapping("preprocessing"),
            labels=f.strings("labels"),
            class_offset=f.integer("class_offset"),
            weights_from=f.string("weights_from"),
            validation=f.optional_mapping("validation"),
            benchmark=f.optional_mapping("benchmark"),
            plan=f.optional_mapping("plan"),
            execution=_execution(f.take("execution"), "manifest.execution"),
            members=members,
        )
        f.done(allow_unknown=version[1] > FORMAT_VERSION[1])
        return manifest


def _version(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", text)
    if match is None:
        raise ManifestError(f"'{text}' is no format version.")
    version = int(match[1]), int(match[2])
    if version[0] != FORMAT_VERSION[0]:
        raise ManifestError(
            f"The artifact has format version {text}, expected {FORMAT_VERSION[0]}.x.",
            hints=[f"Compile the model again with cnnir {__version__}, or run it with the version that wrote it."],
        )
    return version
