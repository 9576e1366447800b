"""Weights from files: every format, and every way in which they may not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from cnnir.errors import CnnirError
from cnnir.frontends import weights
from cnnir.frontends.dsl import BatchNorm, Conv, Dense, Flatten, Stack, Tensor, trace
from cnnir.frontends.weights import load_weights
from cnnir.ir import Array, Graph


def body(x: Tensor) -> Tensor:
    x = (x >> Stack("stem", Conv(4, 3), BatchNorm())) * 0.5
    return x >> Flatten() >> Dense(2, name="fc")


def graph() -> Graph:
    return trace(body, {"input": (3, 8, 8)}, name="small")


SHAPES = {
    "stem.0.weight": (4, 3, 3, 3),
    "stem.0.bias": (4,),
    "stem.1.weight": (4,),
    "stem.1.bias": (4,),
    "stem.1.running_mean": (4,),
    "stem.1.running_var": (4,),
    "fc.weight": (2, 144),
    "fc.bias": (2,),
}


def state(dtype: Any = np.float32) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def loaded(g: Graph) -> dict[str, Array]:
    return {v.name: v.data.numpy() for v in g.constants() if v.data is not None and "literal" not in v.name}


def save(path: Path, tensors: dict[str, Array]) -> Path:
    """With the formats' own libraries, not ours."""
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file(tensors, path)
    else:
        torch = pytest.importorskip("torch")
        torch.save({k: torch.from_numpy(v) for k, v in tensors.items()}, path)
    return path


FORMATS = ["w.npz", "w.safetensors", "w.pth", "w.pt"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(name: str, tmp_path: Path) -> None:
    g = graph()
    load_weights(g, save(tmp_path / name, state()))
    g.verify()
    expected = state()
    got = loaded(g)
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(got[key], array)
        assert got[key].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "dtype"), [("w.npz", np.float64), ("w.safetensors", np.float16), ("w.pth", np.float64)]
)
def test_elements_are_converted(name: str, dtype: Any, tmp_path: Path) -> None:
    g = graph()
    load_weights(g, save(tmp_path / name, state(dtype)))
    for key, array in state(dtype).items():
        np.testing.assert_array_equal(loaded(g)[key], array.astype(np.float32))


def test_bfloat16(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    rounded = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in state().items()}
    tensors = {k: torch.from_numpy(v).bfloat16() for k, v in rounded.items()}
    pytest.importorskip("safetensors.torch").save_file(tensors, tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        g = graph()
        load_weights(g, tmp_path / name)
        for key, array in rounded.items():
            np.testing.assert_array_equal(loaded(g)[key], array)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoints_of_parallel_training(key: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {f"module.{k}": torch.from_numpy(v) for k, v in state().items()}
    tensors["module.stem.1.num_batches_tracked"] = torch.tensor(7)
    torch.save({key: tensors, "epoch": 3}, tmp_path / "w.pth")
    g = graph()
    load_weights(g, tmp_path / "w.pth")
    np.testing.assert_array_equal(loaded(g)["fc.bias"], state()["fc.bias"])


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "w.npz", state())
    monkeypatch.setattr(weights, "_npy", lambda path, member: pytest.fail("read too early"))
    load_weights(graph(), path)


def test_a_number_of_the_architecture_keeps_its_value(tmp_path: Path) -> None:
    g = graph()
    load_weights(g, save(tmp_path / "w.npz", state()))
    (literal,) = [v for v in g.constants() if v.name == "mul1.literal"]
    assert literal.data is not None
    assert literal.data.numpy() == 0.5


def test_missing_extra_and_wrong_shapes_are_listed_and_nothing_changes(tmp_path: Path) -> None:
    tensors = state()
    del tensors["fc.bias"]
    tensors["head.bias"] = np.zeros(3, np.float32)
    tensors["fc.weight"] = np.zeros((5, 144), np.float32)
    g = graph()
    before = loaded(g)
    with pytest.raises(CnnirError) as caught:
        load_weights(g, save(tmp_path / "w.safetensors", tensors))
    assert caught.value.message.endswith("do not fit 'small': 1 missing, 1 extra, 1 of the wrong shape.")
    assert caught.value.notes == (
        "Missing from the file: 'fc.bias'.",
        "Not in the network: 'head.bias'.",
        "Of another shape: 'fc.weight' (expected [2, 144], got [5, 144]).",
    )
    for key, array in loaded(g).items():
        np.testing.assert_array_equal(array, before[key])


def test_long_lists_are_cut(tmp_path: Path) -> None:
    extra = {f"x{i}": np.zeros(1, np.float32) for i in range(13)}
    with pytest.raises(CnnirError) as caught:
        load_weights(graph(), save(tmp_path / "w.npz", state() | extra))
    (note,) = caught.value.notes
    assert note.count("'x") == 10
    assert note.endswith("and 3 more.")


def test_ignored_names_may_be_extra(tmp_path: Path) -> None:
    path = save(tmp_path / "w.npz", state() | {"aux.bias": np.zeros(1, np.float32)})
    load_weights(graph(), path, ignore={"aux.bias"})


def test_missing_running_statistics_are_noticed(tmp_path: Path) -> None:
    tensors = state()
    del tensors["stem.1.running_var"]
    with pytest.raises(CnnirError, match=r"Missing from the file: 'stem\.1\.running_var'"):
        load_weights(graph(), save(tmp_path / "w.npz", tensors))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", ["empty", "text", "half"])
def test_damaged_files(name: str, damage: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, state())
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"no weights at all, only words", "half": content[: len(content) // 2]}[damage]
    )
    with pytest.raises(CnnirError) as caught:
        load_weights(graph(), path)
    assert path.name in str(caught.value)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import os

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was_here"),)

    torch.save({"fc.bias": Evil()}, tmp_path / "w.pth")
    with pytest.raises(CnnirError, match="PyTorch refuses it"):
        load_weights(graph(), tmp_path / "w.pth")
    assert not (tmp_path / "was_here").exists()


def test_objects_in_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **state(), odd=np.array([{}], dtype=object))
    with pytest.raises(CnnirError, match="holds Python objects"):
        load_weights(graph(), tmp_path / "w.npz")


def test_a_checkpoint_without_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(CnnirError, match="holds no mapping of names to tensors"):
        load_weights(graph(), tmp_path / "w.pth")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match=r"'.*none\.npz' does not exist"):
        load_weights(graph(), tmp_path / "none.npz")
    with pytest.raises(CnnirError, match="is a folder"):
        load_weights(graph(), tmp_path)
    (tmp_path / "w.h5").write_bytes(b"")
    with pytest.raises(CnnirError, match=r"Known: \.safetensors, \.npz, \.pt, \.pth, \.bin"):
        load_weights(graph(), tmp_path / "w.h5")
