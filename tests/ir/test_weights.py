"""Our safetensors files against the safetensors package, both ways; damaged files."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cnnir.errors import CnnirError
from cnnir.ir import ArrayData, DType, TensorData
from cnnir.ir.weights import read_weights, write_weights

ARRAYS = {
    "a": np.arange(6, dtype=np.int8).reshape(2, 3),
    "f64": np.array([0.1, np.inf, -0.0]),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "bool": np.array([True, False]),
    "long": np.array([2**62]),
    "half": np.array([[1.5, 2.5]], np.float16),
    "unsigned": np.array([255], np.uint8),
    "int": np.array([-7], np.int32),
}


def tensors() -> dict[str, TensorData]:
    return {name: ArrayData(array) for name, array in ARRAYS.items()}


def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", tensors())
    theirs = safetensors.numpy.load_file(tmp_path / "w.safetensors")
    assert set(theirs) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert theirs[name].dtype == array.dtype
        assert theirs[name].shape == array.shape
        assert theirs[name].tobytes() == array.tobytes()


def test_we_read_what_the_package_writes(tmp_path: Path) -> None:
    safetensors.numpy.save_file(ARRAYS, tmp_path / "w.safetensors", metadata={"format": "np"})
    ours = read_weights(tmp_path / "w.safetensors")
    assert set(ours) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert ours[name].dtype == DType.of(array.dtype)
        assert ours[name].shape == array.shape
        assert ours[name].numpy().tobytes() == array.tobytes()
        assert not ours[name].numpy().flags.writeable


def test_bfloat16_bits(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    array = np.array([1.0, -2.5, 3e38], ml_dtypes.bfloat16)
    write_weights(tmp_path / "w.safetensors", {"b": ArrayData(array)})
    theirs = load_file(tmp_path / "w.safetensors")["b"]
    assert theirs.dtype == torch.bfloat16
    assert theirs.float().tolist() == array.astype(np.float32).tolist()
    assert read_weights(tmp_path / "w.safetensors")["b"].dtype == DType.BF16


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_weights(tmp_path / name, tensors())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_transposed_arrays_are_written_in_order(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", {"t": ArrayData(np.arange(6.0).reshape(2, 3).T)})
    assert read_weights(tmp_path / "w")["t"].numpy().tolist() == [[0, 3], [1, 4], [2, 5]]


def damaged(header: object, elements: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + elements


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "its header is missing or cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "its header is missing or cut off"),
        (struct.pack("<Q", 50) + b"{}", "its header is missing or cut off"),
        (damaged(b"{nonsense"), "its header is not JSON"),
        (damaged(b"\xff\xff\xff"), "its header is not JSON"),
        (damaged([1]), "its header is not a table of tensors"),
        (damaged({"w": 3}), "the entry of 'w' is malformed"),
        (damaged({"w": {**ENTRY, "shape": [-2]}}), "the entry of 'w' is malformed"),
        (damaged({"w": ENTRY}, bytes(7)), "'w' lies outside the file or is too short for its shape [2]"),
        (damaged({"w": {**ENTRY, "shape": [3]}}, bytes(8)), "'w' lies outside the file or is too short"),
    ],
)
def test_damaged_files(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(CnnirError) as caught:
        read_weights(path)
    assert f"'{path}' is not a whole safetensors file: {why}" in str(caught.value)


def test_unknown_element_types_are_named(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(damaged({"w": {**ENTRY, "dtype": "F8_E4M3"}}, bytes(8)))
    with pytest.raises(CnnirError, match="Tensor 'w' has elements of type F8_E4M3, which is not supported"):
        read_weights(tmp_path / "w")
