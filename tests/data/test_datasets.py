"""Image sets of every kind, whole and damaged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnir.data import class_names, open_dataset, stream
from cnnir.data.names import imagenet_names, imagenet_wnids
from cnnir.errors import CnnirError
from cnnir.preprocess import Preprocess

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RNG = np.random.default_rng(0)


def pixels(n: int, side: int = 8) -> np.ndarray:
    return RNG.integers(0, 256, (n, side, side, 3), np.uint8)


def encoded(images: np.ndarray, format: str = "png") -> tuple[np.ndarray, np.ndarray]:
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format, **({"lossless": True} if format == "webp" else {}))
        files.append(buffer.getvalue())
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)])


def test_array(tmp_path: Path) -> None:
    images = pixels(3)
    np.savez(tmp_path / "a.npz", images=images, labels=[2, 0, 1], class_names=["x", "a_b", "c"])
    data = open_dataset(tmp_path / "a.npz")
    assert (data.name, len(data), data.class_names) == ("a.npz", 3, ("x", "a b", "c"))
    assert [data.label(i) for i in range(3)] == [2, 0, 1] and data.id(2) == "a.npz[2]"
    np.testing.assert_array_equal(data.image(1), images[1])


def test_encoded(tmp_path: Path) -> None:
    images = pixels(3)
    jpeg, offsets = encoded(images)
    np.savez(tmp_path / "e.npz", jpeg=jpeg, offsets=offsets, labels=[0, 1, 2])
    data = open_dataset(tmp_path / "e.npz")
    assert data.class_names is None
    np.testing.assert_array_equal(np.asarray(data.image(2)), images[2])


def test_sheets(tmp_path: Path) -> None:
    images = pixels(300, 4)

    def sheet(part: np.ndarray) -> np.ndarray:
        grid = part.reshape(-1, 100, 4, 4, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 400, 3)
        return encoded(grid[None], "webp")[0]

    np.savez(tmp_path / "s.npz", sheet0=sheet(images[:200]), sheet1=sheet(images[200:]), labels=np.arange(300))
    data = open_dataset(tmp_path / "s.npz")
    for i in (0, 99, 100, 199, 200, 299):
        np.testing.assert_array_equal(data.image(i), images[i])


def test_folder(tmp_path: Path) -> None:
    for name, color in (("dog", 10), ("cat", 20)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2), (color, 0, 0)).save(tmp_path / name / "1.png")
    (tmp_path / "cat" / "readme.md").write_text("not an image, and not taken for one")
    data = open_dataset(tmp_path)
    assert data.class_names == ("cat", "dog") and len(data) == 2
    assert [(data.label(i), np.asarray(data.image(i))[0, 0, 0]) for i in range(2)] == [(0, 20), (1, 10)]


@pytest.mark.parametrize(("names", "labels"), [(("7", "12"), [7, 12]), (("n01443537", "n01440764"), [1, 0])])
def test_folders_that_name_labels(tmp_path: Path, names: tuple[str, str], labels: list[int]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / f"{name}.png")
    data = open_dataset(tmp_path)
    found = {Path(data.id(i)).stem: data.label(i) for i in range(2)}
    assert [found[name] for name in names] == labels


def test_list(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (5, 0, 0)).save(tmp_path / "a photo.png")
    (tmp_path / "val.txt").write_text("# comment\n\na photo.png 3\n")
    data = open_dataset(tmp_path / "val.txt")
    assert len(data) == 1 and data.label(0) == 3 and np.asarray(data.image(0))[0, 0, 0] == 5
    (tmp_path / "val.txt").write_text("a photo.png 3\na photo.png cat\n")
    with pytest.raises(CnnirError, match=r"val.txt:2: Expected a line 'path label', got 'a photo.png cat'"):
        open_dataset(tmp_path / "val.txt")


JPEG, OFFSETS = encoded(pixels(2))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"images": pixels(2)}, "has no member 'labels'. It holds: images."),
        ({"labels": [0], "y": [1]}, "holds no images that can be read. It holds: labels, y."),
        ({"labels": [0], "images": pixels(2)}, "1 labels do not fit 'images', which hold 2 images."),
        ({"labels": [0.5], "images": pixels(1)}, "expected 'labels' as a row of integers, got float64[1]."),
        ({"labels": [0], "images": np.zeros((1, 4, 4, 3))}, "type uint8[n,H,W,3], got float64[1, 4, 4, 3]."),
        ({"labels": [0, 1], "jpeg": JPEG, "offsets": OFFSETS[:-1]}, "do not fit 'offsets', which hold 1 images."),
        ({"labels": [0, 1], "jpeg": JPEG[:-5], "offsets": OFFSETS}, "'offsets' must rise from 0 to the"),
        ({"labels": [0], "sheet0": np.zeros(9, np.uint8)}, "sheet0' is not an image that can be read."),
        ({"labels": np.zeros(0, int), "images": pixels(0)}, "holds no images."),
    ],
)
def test_archives_that_do_not_fit(tmp_path: Path, members: dict, message: str) -> None:
    np.savez(tmp_path / "bad.npz", **members)
    with pytest.raises(CnnirError) as caught:
        open_dataset(tmp_path / "bad.npz")
    assert message in str(caught.value)


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "objects.npz", labels=np.array([{}]), images=pixels(1))
    (tmp_path / "data.tar").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, message in [
        ("cut.npz", "is not a NumPy archive that can be read"),
        ("objects.npz", "is not a NumPy archive that can be read: Object arrays"),
        ("data.tar", "is no kind of data that can be read. Expected a .npz archive"),
        ("gone.npz", "There is no data at"),
        ("empty", "has no class folders. Expected one folder a class"),
    ]:
        with pytest.raises(CnnirError, match=message):
            open_dataset(tmp_path / name)


def test_stream_keeps_order_and_reports_damage(tmp_path: Path) -> None:
    images = pixels(40)
    jpeg, offsets = encoded(images)
    jpeg = jpeg.copy()
    jpeg[offsets[7] : offsets[7] + 16] = 0  # the head of file 7
    jpeg[offsets[12] + 60 : offsets[13]] = 0  # the pixels of file 12
    np.savez(tmp_path / "e.npz", jpeg=jpeg, offsets=offsets, labels=np.arange(40))
    items = list(stream(open_dataset(tmp_path / "e.npz"), Preprocess((8, 8)), workers=4, ahead=5))
    assert [item.label for item in items] == list(range(40))
    assert [item.id for item in items if item.error is not None] == ["e.npz[7]", "e.npz[12]"]
    for item in items:
        assert (item.tensor is None) == (item.error is not None)
        if item.tensor is not None:
            np.testing.assert_array_equal(item.tensor, images[item.label].transpose(2, 0, 1))


def test_stream_decodes_no_further_than_told(tmp_path: Path) -> None:
    asked = []

    class Spy:
        name, class_names = "spy", None

        def __len__(self) -> int:
            return 100

        def label(self, i: int) -> int:
            asked.append(i)
            return 0

        def id(self, i: int) -> str:
            return str(i)

        def image(self, i: int) -> np.ndarray:
            return np.zeros((1, 1, 3), np.uint8)

    items = stream(Spy(), Preprocess((1, 1)), workers=2, ahead=4)
    next(items)
    items.close()
    assert max(asked) < 4
    assert len(list(stream(Spy(), Preprocess((1, 1)), limit=9))) == 9


def test_names() -> None:
    # The ILSVRC synsets in the order of their ids: three known points of that list.
    assert len(imagenet_names()) == 1000 == len(imagenet_wnids())
    assert list(imagenet_wnids()) == sorted(imagenet_wnids())
    assert (imagenet_names()[0], imagenet_names()[207], imagenet_names()[999]) == (
        "tench",
        "golden retriever",
        "toilet tissue",
    )
    assert imagenet_wnids()["n02099601"] == 207
    assert class_names(1001, class_offset=1) == imagenet_names() and class_names(1001) is None
    assert class_names(10) == CIFAR10


def test_the_shared_photographs_use_our_classes(shared_data: Path) -> None:
    data = open_dataset(shared_data / "nips2017_dev_1000.npz")
    assert data.class_names == imagenet_names()
    train = open_dataset(shared_data / "cifar10_train_20k.npz")
    assert (
        len(train) == 20_000 and train.image(19_999).shape == (32, 32, 3) and train.class_names == class_names(10)
    )
