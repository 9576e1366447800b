"""Preprocessing against torchvision and figures worked out by hand; mistakes in its files in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.preprocess import (
    PRESETS,
    Channels,
    Interpolation,
    Preprocess,
    load_preprocess,
    open_image,
    preset,
)

PIXEL = np.array([[[255, 127, 0]]], np.uint8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torch", [(1 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, -0.406 / 0.225]),
        ("caffe", [0 - 103.939, 127 - 116.779, 255 - 123.68]),
        ("tf", [1.0, -0.5 / 127.5, -1.0]),
        ("lite", [1.0, 0.0, -127 / 128]),
        ("raw", [255.0, 127.0, 0.0]),
    ],
)
def test_presets_by_hand(name: str, expected: list[float]) -> None:
    x = preset(name, (1, 1)).apply(PIXEL)
    assert x.shape == (3, 1, 1) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_allclose(x.ravel(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("side", "resize"), [(224, 256), (227, 256), (299, 342), (32, 32), (28, 28), (192, 219)])
def test_resize_of_presets(side: int, resize: int) -> None:
    assert preset("torch", (side, side)).resize == resize


@pytest.mark.parametrize("shape", [(256, 256), (300, 257), (256, 341), (400, 533)])
@pytest.mark.parametrize("crop", [224, 227])
def test_geometry_is_torchvisions(shape: tuple[int, int], crop: int) -> None:
    # torchvision.transforms.Compose([Resize(256), CenterCrop(crop)]) on a Pillow image, in Pillow calls.
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    picture = Image.fromarray(pixels)
    h, w = shape
    if min(shape) != 256:
        size = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    top, left = round((picture.height - crop) / 2.0), round((picture.width - crop) / 2.0)
    expected = np.asarray(picture.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)
    actual = Preprocess((crop, crop), resize=256).apply(pixels)
    np.testing.assert_array_equal(actual, expected)


def test_an_image_of_the_resize_length_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    np.testing.assert_array_equal(
        preset("raw", (224, 224)).apply(pixels), pixels[16:240, 16:240].transpose(2, 0, 1)
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "LA", "1"])
def test_other_pillow_modes(mode: str) -> None:
    picture = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    x = preset("raw", (4, 5)).apply(picture)
    assert x.shape == (3, 4, 5) and np.all(x == 255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    picture = Image.fromarray(np.full((3, 3), 0x8000, np.uint16))
    assert np.all(preset("raw", (3, 3)).apply(picture) == 0x80)


def test_one_channel() -> None:
    p = preset("tf", (1, 1), channels=1)
    assert p.channels is Channels.L and p.mean == (127.5,)
    np.testing.assert_allclose(p.apply(np.array([[255]], np.uint8)), [[[1.0]]])
    with pytest.raises(CnnirError, match=r"'torch' needs a model with 3 input channels, got 1. With 1 channel:"):
        preset("torch", (28, 28), channels=1)


@pytest.mark.parametrize("name", PRESETS)
def test_dict_round_trip(name: str) -> None:
    p = preset(name, (224, 200))
    assert Preprocess.from_dict(json.loads(json.dumps(p.to_dict()))) == p


def test_json_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"channels": "BGR", "mean": [104, 117, 123], "interpolation": "bicubic", "resize": 256}')
    expected = Preprocess((227, 227), 256, Interpolation.BICUBIC, Channels.BGR, mean=(104.0, 117.0, 123.0))
    assert load_preprocess(str(path), (227, 227)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"meen": [1, 2, 3]}', "p.json: Unknown preprocessing field 'meen'. Did you mean 'mean'?"),
        ('{"mean": [1, 2]}', "p.json: Preprocessing field 'mean': expected 3 numbers (channels are 'RGB'), got 2."),
        ('{"mean": "1"}', "p.json: Preprocessing field 'mean': expected a list of numbers, got \"1\"."),
        ('{"std": [1, true, 1]}', "p.json: Preprocessing field 'std': expected a number, got true."),
        (
            '{"std": [1, 0, 1]}',
            "p.json: Preprocessing needs finite numbers, and neither 'scale' nor 'std' may be 0.",
        ),
        ('{"scale": NaN}', "p.json: Preprocessing needs finite numbers, and neither 'scale' nor 'std' may be 0."),
        ('{"resize": 2.5}', "p.json: Preprocessing field 'resize': expected an integer, got 2.5."),
        ('{"resize": 0}', "p.json: Preprocessing field 'resize': expected a positive length, got 0."),
        ('{"crop": [1, 2, 3]}', "p.json: Preprocessing field 'crop': expected height and width, got [1, 2, 3]."),
        (
            '{"crop": 224}',
            "p.json: Preprocessing field 'crop': expected the model's input size 32x32, got 224x224.",
        ),
        (
            '{"channels": "RBG"}',
            "p.json: Unknown value of preprocessing field 'channels': 'RBG'. Did you mean 'RGB'?",
        ),
        (
            '{"channels": "L"}',
            "p.json: Preprocessing field 'channels': 'L' does not fit a model with 3 input channels.",
        ),
        ('{"interpolation": 3}', "p.json: Preprocessing field 'interpolation': expected a name, got 3."),
        ("[1]", "Preprocessing file 'p.json': expected a JSON object, got list."),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, monkeypatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.json").write_text(text)
    with pytest.raises(CnnirError) as caught:
        load_preprocess("p.json", (32, 32))
    assert str(caught.value) == message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match=r"Cannot read preprocessing file '.*none.json': No such file"):
        load_preprocess(str(tmp_path / "none.json"), (32, 32))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(CnnirError, match=r"broken.json' is not JSON"):
        load_preprocess(str(broken), (32, 32))
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CnnirError, match=r"broken.json' is not JSON"):
        load_preprocess(str(broken), (32, 32))
    with pytest.raises(UnknownNameError, match=r"Unknown preprocessing 'torhc'. Did you mean 'torch'\?"):
        load_preprocess("torhc", (32, 32))


def test_images_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("hello")
    with pytest.raises(CnnirError, match=r"^'.*notes.jpg' is not an image that can be read.$"):
        open_image(path)
    with pytest.raises(CnnirError, match=r"^Cannot read image '.*gone.jpg': No such file or directory.$"):
        open_image(tmp_path / "gone.jpg")
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole)
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(CnnirError, match=r"^Image '.*cut.png' is damaged: "):
        open_image(cut)


def test_pixels_that_are_none() -> None:
    p = Preprocess((2, 2))
    with pytest.raises(CnnirError, match=r"expected pixels of type uint8\[H,W,3\], got float32\[2, 2, 3\]"):
        p.apply(np.zeros((2, 2, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(CnnirError, match=r"'cat.png' is 1x3, smaller than the crop 2x2. Give"):
        p.apply(np.zeros((1, 3, 3), np.uint8), name="cat.png")


def test_it_imports_neither_torch_nor_the_compiler() -> None:
    code = (
        "import sys, cnnir.preprocess; print([m for m in ('torch', 'tvm', 'onnx', 'cnnir.ir') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
