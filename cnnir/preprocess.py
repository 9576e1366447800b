"""What a model expects of an image, as data: resize, crop, channel order, scale, mean, deviation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cnnir.errors import CnnirError, UnknownNameError

Pixels = NDArray[np.uint8]
"""An image as `[H, W, C]` or `[H, W]`, 0 to 255; colours in RGB order."""

Tensor = NDArray[np.float32]


class Channels(StrEnum):
    """The order of the model's input channels; `L` is one channel of luminance (ITU-R 601-2)."""

    RGB = "RGB"
    BGR = "BGR"
    L = "L"

    @property
    def number(self) -> int:
        return 1 if self is Channels.L else 3


class Interpolation(StrEnum):
    """How pixels are resampled (Pillow's filters, which smooth when they shrink)."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


_FILTERS = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """From an image to one float32 `[C, H, W]` input: `(pixels * scale - mean) / std` after resize and crop.

    Args:
        crop: height and width of the centre crop, which is the model's input size.
        resize: length in pixels that the shorter side is resized to first (the other side follows); `None`
            leaves the image as it is, and so does an image whose shorter side already has that length.
        interpolation: used by the resize.
        channels: order of the model's input channels.
        scale: factor on the pixels (0 to 255).
        mean, std: one number a channel, in the order of `channels` and in the unit of `pixels * scale`.

    Raises:
        CnnirError: a field of the wrong type, length or range.
    """

    crop: tuple[int, int]
    resize: int | None = None
    interpolation: Interpolation = Interpolation.BILINEAR
    channels: Channels = Channels.RGB
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.crop) != 2 or min(self.crop) < 1:
            raise CnnirError(f"Preprocessing field 'crop': expected positive height and width, got {self.crop}.")
        if self.resize is not None and self.resize < 1:
            raise CnnirError(f"Preprocessing field 'resize': expected a positive length, got {self.resize}.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels.number:
                raise CnnirError(
                    f"Preprocessing field '{name}': expected {self.channels.number} "
                    f"number{'s'[: self.channels.number - 1]} (channels are '{self.channels}'), got {len(values)}."
                )
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))) or 0.0 in (self.scale, *self.std):
            raise CnnirError("Preprocessing needs finite numbers, and neither 'scale' nor 'std' may be 0.")

    def apply(self, image: Image.Image | Pixels, *, name: str = "image") -> Tensor:
        """The model's input `[C, H, W]`, contiguous float32.

        `name` is what an error calls the image.

        Raises:
            CnnirError: pixels that are no image, or an image smaller than the crop where nothing resizes it.
        """
        picture = image if isinstance(image, Image.Image) else _to_pil(image, name)
        if picture.mode.startswith("I;16"):  # Pillow would clip 16 bits to 255 rather than scale them
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        picture = self._resized(picture.convert("L" if self.channels is Channels.L else "RGB"))
        height, width = self.crop
        if picture.height < height or picture.width < width:
            raise CnnirError(
                f"'{name}' is {picture.height}x{picture.width}, smaller than the crop {height}x{width}.",
                hints=["Give the preprocessing a 'resize'."],
            )
        # Half a pixel rounds to even, as in torchvision's CenterCrop.
        top, left = round((picture.height - height) / 2), round((picture.width - width) / 2)
        pixels = np.asarray(picture)[top : top + height, left : left + width]
        pixels = pixels.reshape(height, width, self.channels.number)
        if self.channels is Channels.BGR:
            pixels = pixels[:, :, ::-1]
        x = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
        x *= np.float32(self.scale)
        x -= np.asarray(self.mean, np.float32)[:, None, None]
        x /= np.asarray(self.std, np.float32)[:, None, None]
        return x

    def load(self, path: str | Path) -> Tensor:
        """The model's input `[C, H, W]` from an image file; errors as `open_image` and `apply`."""
        return self.apply(open_image(path), name=str(path))

    def _resized(self, picture: Image.Image) -> Image.Image:
        short, long = sorted(picture.size)
        if self.resize is None or short == self.resize:
            return picture
        other = max(self.resize, int(self.resize * long / short))
        size = (self.resize, other) if picture.width <= picture.height else (other, self.resize)
        return picture.resize(size, _FILTERS[self.interpolation])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], *, size: tuple[int, int] | None = None, at: object = None
    ) -> Preprocess:
        """The preprocessing that a JSON object describes.

        Args:
            data: fields by name; every field but `crop` may be left out.
            size: height and width of the model's input: the default of `crop`, which must agree with it.
            at: the place that an error names.

        Raises:
            CnnirError: a key that is no field, a value of the wrong type or length, a crop of another size.
        """
        known = [f.name for f in fields(cls)]
        try:
            for key in data:
                if key not in known:
                    raise UnknownNameError("preprocessing field", key, known)
            if "crop" not in data and size is None:
                raise CnnirError("Preprocessing field 'crop' is missing.")
            values: dict[str, Any] = {key: _READERS[key](key, value) for key, value in data.items()}
            values.setdefault("crop", size)
            if "channels" in data and values["channels"] is Channels.L:
                values.setdefault("mean", (0.0,))
                values.setdefault("std", (1.0,))
            result = cls(**values)
            if size is not None and result.crop != size:
                raise CnnirError(
                    f"Preprocessing field 'crop': expected the model's input size {size[0]}x{size[1]}, "
                    f"got {result.crop[0]}x{result.crop[1]}."
                )
        except CnnirError as error:
            error.at = error.at or (None if at is None else str(at))
            raise
        return result


def _integer(key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise CnnirError(f"Preprocessing field '{key}': expected an integer, got {json.dumps(value)}.")


def _number(key: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise CnnirError(f"Preprocessing field '{key}': expected a number, got {json.dumps(value)}.")


def _numbers(key: str, value: object) -> tuple[float, ...]:
    if isinstance(value, list | tuple):
        return tuple(_number(key, v) for v in value)
    raise CnnirError(f"Preprocessing field '{key}': expected a list of numbers, got {json.dumps(value)}.")


def _crop(key: str, value: object) -> tuple[int, int]:
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise CnnirError(f"Preprocessing field '{key}': expected height and width, got {json.dumps(value)}.")
        return _integer(key, value[0]), _integer(key, value[1])
    side = _integer(key, value)
    return side, side


def _choice(choices: type[StrEnum]) -> Callable[[str, object], StrEnum]:
    def read(key: str, value: object) -> StrEnum:
        if isinstance(value, str) and value in list(choices):
            return choices(value)
        if isinstance(value, str):
            raise UnknownNameError(f"value of preprocessing field '{key}':", value, list(choices))
        raise CnnirError(f"Preprocessing field '{key}': expected a name, got {json.dumps(value)}.")

    return read


_READERS: dict[str, Callable[[str, object], object]] = {
    "crop": _crop,
    "resize": lambda key, value: None if value is None else _integer(key, value),
    "interpolation": _choice(Interpolation),
    "channels": _choice(Channels),
    "scale": _number,
    "mean": _numbers,
    "std": _numbers,
}

PRESETS: dict[str, Mapping[str, Any]] = {
    # torchvision's and timm's ImageNet models.
    "torch": {"scale": 1 / 255, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)},
    # Caffe's and Keras's ResNet and VGG.
    "caffe": {"channels": "BGR", "mean": [103.939, 116.779, 123.68]},
    # TensorFlow's Inception, MobileNet and ResNet v2.
    "tf": {"mean": [127.5] * 3, "std": [127.5] * 3},
    # EfficientNet-Lite.
    "lite": {"mean": [127.0] * 3, "std": [128.0] * 3},
    "raw": {},
}
"""What each `--preprocess` name sets; `preset` adds resize and crop."""

_GRAY = {"tf", "lite", "raw"}


def preset(name: str, size: tuple[int, int], *, channels: int = 3) -> Preprocess:
    """A named preprocessing for a model whose input is `size` (height, width).

    The shorter side is resized to 256 for inputs from 224 to 256, to the input itself up to 64, which leaves no
    margin to crop (CIFAR, MNIST), and to the input divided by 0.875 for others (299 gives 342).
    With one channel, `tf`, `lite` and `raw` work on luminance.

    Raises:
        UnknownNameError: no such preset.
        CnnirError: a preset that has no meaning for that number of channels.
    """
    if name not in PRESETS:
        raise UnknownNameError("preprocessing", name, PRESETS)
    if channels not in (1, 3) or (channels == 1 and name not in _GRAY):
        raise CnnirError(
            f"Preprocessing '{name}' needs a model with 3 input channels, got {channels}.",
            hints=[f"With 1 channel: {', '.join(sorted(_GRAY))}."] if channels == 1 else [],
        )
    values = dict(PRESETS[name])
    if channels == 1:
        values |= {key: values[key][:1] for key in ("mean", "std") if key in values} | {"channels": "L"}
    short = min(size)
    values["resize"] = short if short <= 64 else 256 if 224 <= short <= 256 else round(short / 0.875)
    return Preprocess.from_dict(values, size=size)


def load_preprocess(source: str, size: tuple[int, int], *, channels: int = 3) -> Preprocess:
    """What `--preprocess` names: a preset, or a JSON file (its name ends in `.json`) with the same fields.

    Args:
        source: the preset's name or the file's path.
        size: height and width of the model's input.
        channels: number of the model's input channels.

    Raises:
        CnnirError: an unknown preset; a file that cannot be read, is no JSON object, or does not fit the model.
    """
    path = Path(source)
    if path.suffix.lower() != ".json":
        return preset(source, size, channels=channels)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CnnirError(f"Cannot read preprocessing file '{source}': {error.strerror}.") from error
    except ValueError as error:
        raise CnnirError(f"Preprocessing file '{source}' is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise CnnirError(f"Preprocessing file '{source}': expected a JSON object, got {type(data).__name__}.")
    if channels == 1:
        data.setdefault("channels", "L")
    result = Preprocess.from_dict(data, size=size, at=source)
    if result.channels.number != channels:
        raise CnnirError(
            f"Preprocessing field 'channels': '{result.channels}' does not fit a model with {channels} "
            f"input channel{'s'[: channels - 1]}.",
            at=source,
        )
    return result


def open_image(path: str | Path) -> Image.Image:
    """The decoded image of a file.

    Raises:
        CnnirError: the file cannot be read, is no image, or is cut short.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except UnidentifiedImageError as error:
        raise CnnirError(f"'{path}' is not an image that can be read.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise CnnirError(f"Cannot read image '{path}': {error.strerror}.") from error
        raise CnnirError(f"Image '{path}' is damaged: {error}.") from error


def _to_pil(pixels: Pixels, name: str) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise CnnirError(f"'{name}': expected pixels of type uint8[H,W,3], got {pixels.dtype}{list(pixels.shape)}.")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise CnnirError(f"'{name}': expected 1, 3 or 4 channels in the last axis, got {list(pixels.shape)}.")
    return Image.fromarray(np.ascontiguousarray(pixels))
