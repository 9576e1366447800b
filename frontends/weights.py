"""Trained weights from a file into a graph, by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cnnir.errors import CnnirError
from cnnir.ir import Array, DType, Graph, LazyData, TensorData, Value
from cnnir.ir.weights import read_weights
from cnnir.ops.normalization import BATCH_NORM

SHOWN = 10
"""How many names of each kind of mismatch are listed."""

_IGNORED = "num_batches_tracked"  # a counter that PyTorch keeps for training
_PARALLEL = "module."  # what PyTorch's data-parallel wrapper puts before every name


class _Entry(Protocol):
    """A tensor of a file: its shape is known, its elements are read by `read`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> Array: ...


class _Lazy:
    def __init__(self, shape: tuple[int, ...], read: Callable[[], Array]) -> None:
        self.shape = shape
        self.read = read


def load_weights(graph: Graph, path: Path | str, *, ignore: Collection[str] = ()) -> None:
    """Replaces the constants of a graph by the tensors of those names in a file, converted to their element type.

    Files: `.safetensors` (memory-mapped), `.npz`, and PyTorch checkpoints (`.pt`, `.pth`, `.bin`; tensors only,
    needs the `torch` extra). The prefix `module.` and the counters `num_batches_tracked` are passed over.

    Every parameter and running statistic must be there with its shape, and the file must hold nothing else but
    names in `ignore`; other constants (numbers in the architecture) are replaced only where the file has them.
    Nothing is changed unless all fits. Raises `CnnirError` naming what is missing, extra or of the wrong shape.
    """
    path = Path(path)
    entries = _unwrapped(_open(path))
    constants = {v.name: v for v in graph.constants()}
    missing = [n for n in _required(graph) if n not in entries]
    extra = [n for n in entries if n not in constants and n not in ignore]
    wrong = [
        f"'{n}' (expected {list(v.type.shape)}, got {list(entries[n].shape)})"
        for n, v in constants.items()
        if n in entries and entries[n].shape != v.type.shape
    ]
    if missing or extra or wrong:
        notes = _list("Missing from the file", [f"'{n}'" for n in missing])
        notes += _list("Not in the network", [f"'{n}'" for n in extra])
        notes += _list("Of another shape", wrong)
        counts = [f"{len(missing)} missing", f"{len(extra)} extra", f"{len(wrong)} of the wrong shape"]
        raise CnnirError(
            f"The weights in '{path}' do not fit '{graph.name}': {', '.join(counts)}.",
            notes=notes,
            hints=["Weights fit the architecture and variant that they were trained with, by name and shape."],
        )
    for name, value in constants.items():
        if name in entries:
            value.data = _converted(entries[name], value)


def _required(graph: Graph) -> list[str]:
    """Parameters, and the running statistics of batch normalisations."""
    names = dict.fromkeys(v.name for v in graph.parameters())
    for node in graph.nodes:
        if node.op is BATCH_NORM:
            names |= dict.fromkeys(v.name for v in node.inputs[1:] if v is not None and v.is_constant)
    return list(names)


def _converted(entry: _Entry, value: Value) -> TensorData:
    return LazyData(value.type.shape, value.type.dtype, partial(_read_as, entry, value.type.dtype))


def _read_as(entry: _Entry, dtype: DType) -> Array:
    return np.require(entry.read(), dtype.numpy, ["C_CONTIGUOUS", "ALIGNED"])


def _list(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return [f"{what}: {', '.join(items[:SHOWN])}{more}."]


def _unwrapped(entries: Mapping[str, _Entry]) -> dict[str, _Entry]:
    kept = {n: e for n, e in entries.items() if n.rpartition(".")[2] != _IGNORED}
    if kept and all(n.startswith(_PARALLEL) for n in kept):
        kept = {n.removeprefix(_PARALLEL): e for n, e in kept.items()}
    return kept


# -- files


def _open(path: Path) -> Mapping[str, _Entry]:
    if not path.exists():
        raise CnnirError(f"The weights file '{path}' does not exist.")
    if path.is_dir():
        raise CnnirError(f"'{path}' is a folder, expected a file of weights.")
    readers: dict[str, Callable[[Path], Mapping[str, _Entry]]] = {
        ".safetensors": _open_safetensors,
        ".npz": _open_npz,
        ".pt": _open_torch,
        ".pth": _open_torch,
        ".bin": _open_torch,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CnnirError(
            f"'{path}' is not a kind of weights file that is known.", hints=[f"Known: {', '.join(readers)}."]
        )
    try:
        return reader(path)
    except OSError as error:
        raise CnnirError(f"The weights file '{path}' cannot be read: {error.strerror or error}.") from error


def _open_safetensors(path: Path) -> Mapping[str, _Entry]:
    return {name: _Lazy(data.shape, data.numpy) for name, data in read_weights(path).items()}


def _open_npz(path: Path) -> Mapping[str, _Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if m.endswith(".npy")]
            return {m.removesuffix(".npy"): _Lazy(_npy_shape(archive, m), partial(_npy, path, m)) for m in members}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error


def _npy_shape(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    if dtype.hasobject:
        raise ValueError(f"'{member}' holds Python objects")
    return tuple(shape)


def _npy(path: Path, member: str) -> Array:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error


def _open_torch(path: Path) -> Mapping[str, _Entry]:
    try:
        import torch
    except ImportError as error:
        raise CnnirError(
            f"Reading '{path}' needs PyTorch.",
            hints=["Install the extra: pip install 'cnnir[torch]'.", "A .safetensors file needs nothing."],
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever torch meets in a file that is none of its own
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise _damaged(path, f"PyTorch refuses it ({type(error).__name__}: {reason})") from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise CnnirError(f"'{path}' holds no mapping of names to tensors.", hints=["Save 'model.state_dict()'."])
    return {str(n): _Lazy(tuple(t.shape), partial(_torch_numpy, t)) for n, t in found.items()}


def _torch_numpy(tensor: Any) -> Array:
    import torch

    plain = tensor.detach()
    array: Array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def _damaged(path: Path, why: str) -> CnnirError:
    return CnnirError(f"The weights file '{path}' is damaged or of another kind: {why}.")


def names_only_in(larger: Graph, smaller: Graph) -> frozenset[str]:
    """Names of constants that one graph has and the other does not (those of training-only heads)."""
    return frozenset(_names(larger.constants())) - frozenset(_names(smaller.constants()))


def _names(values: Iterable[Value]) -> Iterable[str]:
    return (v.name for v in values)
