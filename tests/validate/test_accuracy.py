"""Accuracy: by hand on small sets, and on the published figures of pretrained models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnir.data import open_dataset
from cnnir.errors import CnnirError
from cnnir.preprocess import Preprocess, load_preprocess
from cnnir.validate.accuracy import evaluate, ranks, wilson
from cnnir.validate.numeric import ValidationError

RAW = Preprocess((1, 1))


def archive(folder: Path, labels: list[int], classes: int | None = None) -> Path:
    """Images of one pixel whose red is their index."""
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))
    extra = {} if classes is None else {"class_names": np.array([f"c{i}" for i in range(classes)])}
    path = folder / "set.npz"
    np.savez(path, images=images, labels=np.array(labels), **extra)
    return path


def table(scores: list[list[float]]):
    """A model that looks its scores up by the red of the pixel."""
    rows = np.array(scores, np.float32)
    return lambda x: rows[x[:, 0, 0, 0].astype(int)]


def test_wilson_against_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for hits, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(hits, n) == pytest.approx((100 * low, 100 * high), abs=0.006)


def test_ties_go_to_the_lower_class() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.0, 0.0, 0.0]])
    assert ranks(scores, np.array([0, 1, 2])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("fixed", [False, True])
def test_counts_by_hand(tmp_path: Path, batch: int, fixed: bool) -> None:
    # Ranks of the label by row: 0, 1, 4, 5, 0.
    scores = [
        [9, 1, 2, 3, 4, 5],
        [9, 8, 2, 3, 4, 5],
        [6, 5, 4, 3, 2, 1],
        [6, 5, 4, 3, 2, 1],
        [0, 0, 1, 0, 0, 0],
    ]
    sizes = []

    def predict(x):
        sizes.append(len(x))
        return table(scores)(x)

    data = open_dataset(archive(tmp_path, [0, 1, 4, 5, 2]))
    steps = []
    result = evaluate(predict, data, RAW, batch=batch, fixed_batch=fixed, progress=lambda *done: steps.append(done))
    assert (result.n, result.top1, result.top5) == (5, 40.0, 80.0)
    assert result.as_dict()["top1_interval"] == list(wilson(2, 5))
    assert steps[-1] == (5, 5)
    assert set(sizes) == {batch} if fixed else max(sizes) <= batch


def test_limit(tmp_path: Path) -> None:
    data = open_dataset(archive(tmp_path, [0, 1, 1]))
    result = evaluate(table([[1, 0]] * 3), data, RAW, limit=1)
    assert (result.n, result.top1) == (1, 100.0)


def test_class_offset(tmp_path: Path) -> None:
    data = open_dataset(archive(tmp_path, [0, 1], classes=2))
    scores = [[9, 1, 0], [9, 0, 1]]  # output 0 is the background
    assert evaluate(table(scores), data, RAW, class_offset=1).top1 == 100.0
    with pytest.raises(CnnirError, match=r"'set.npz' has 2 classes, the model has 3."):
        evaluate(table(scores), data, RAW)


def test_a_background_class_is_hinted_at(tmp_path: Path) -> None:
    data = open_dataset(archive(tmp_path, [3], classes=1000))
    with pytest.raises(CnnirError, match=r"the model has 1001.*'--class-offset 1'"):
        evaluate(table([[0] * 1001]), data, RAW)


def test_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    data = open_dataset(archive(tmp_path, [0, 7]))
    with pytest.raises(CnnirError, match=r"Label 7 of 'set.npz\[1\]' is out of range: the model has 2 classes."):
        evaluate(table([[1, 0]] * 2), data, RAW)


def test_outputs_that_are_no_scores(tmp_path: Path) -> None:
    data = open_dataset(archive(tmp_path, [0]))
    with pytest.raises(CnnirError, match=r"got an output \[1, 2, 3\]"):
        evaluate(lambda x: np.zeros((1, 2, 3)), data, RAW)
    with pytest.raises(ValidationError, match=r"scores for 'set.npz\[0\]' are not finite"):
        evaluate(lambda x: np.full((1, 2), np.nan), data, RAW)


def test_corrupt_images_are_named_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / name / "good.png")
    (folder / "b" / "bad.jpg").write_bytes(b"no image")
    result = evaluate(lambda x: np.array([[1, 0]] * len(x)), open_dataset(folder), Preprocess((4, 4)), batch=2)
    assert (result.n, result.top1) == (2, 50.0)
    (corrupt,) = result.corrupt
    assert corrupt.id == str(folder / "b" / "bad.jpg") and "is not an image" in corrupt.reason
    with pytest.raises(CnnirError, match=r"None of the 3 images of 'photos' can be used. The first: .*smaller"):
        evaluate(lambda x: x, open_dataset(folder), Preprocess((9, 9)))


@pytest.mark.parametrize(
    ("model", "data", "preprocess", "offset", "limit", "top1"),
    [
        # The figures on all images are published with the data; those of the first ones are theirs to keep.
        ("mobilenet_v1.onnx", "nips2017_dev_1000.npz", "tf", 1, 100, None),
        ("resnet8_mlperftiny_cifar10.onnx", "cifar10_test.npz", "raw", 0, None, 87.19),
        ("resnet20_cifar10.onnx", "cifar10_test.npz", "torch", 0, 2000, None),
    ],
)
def test_pretrained_models(shared_data, model, data, preprocess, offset, limit, top1) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(shared_data / model, providers=["CPUExecutionProvider"])
    name, size = session.get_inputs()[0].name, tuple(session.get_inputs()[0].shape[2:])
    result = evaluate(
        lambda x: session.run(None, {name: x})[0],
        open_dataset(shared_data / data),
        load_preprocess(preprocess, size),
        batch=16,
        class_offset=offset,
        limit=limit,
    )
    assert not result.corrupt
    if top1 is not None:
        assert result.top1 == pytest.approx(top1, abs=0.005)
    else:
        full = {"mobilenet_v1.onnx": 74.10, "resnet20_cifar10.onnx": 91.73}[model]
        low, high = result.top1_interval
        assert low <= full <= high
