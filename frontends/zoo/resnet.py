"""Residual networks (He et al. 2016), 18 to 152 layers, in the four variants a to d."""

from collections.abc import Callable, Sequence
from functools import partial

from cnnir.errors import UnknownNameError
from cnnir.frontends.dsl import (
    ONES,
    ZEROS,
    AvgPool,
    BatchNorm,
    Block,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Identity,
    MaxPool,
    Pipe,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
    repeat,
    shorthand,
)


@shorthand
def conv(filters: int, kernel_size: int, stride: int = 1, name: str | None = None) -> Conv:
    """A convolution that keeps the size, without the bias that the normalisation after it would cancel."""
    return Conv(
        filters, kernel_size, stride, padding=kernel_size // 2, bias=False, init=HeNormal("fan_out"), name=name
    )


@block
def basic(x: Tensor, width: int, stride: int, variant: str, zero_last: bool) -> Tensor:
    """Two 3x3 convolutions."""
    y = (
        x
        >> conv(width, 3, stride, "conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> conv(width, 3, 1, "conv2") >> BatchNorm(name="bn2", gamma=ZEROS if zero_last else ONES)
    )  # fmt: skip
    return (y + shortcut(x, width, stride, variant)) >> ReLU()


@block
def bottleneck(x: Tensor, width: int, stride: int, variant: str, zero_last: bool) -> Tensor:
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide; variant a strides in the first, the others in
    the second."""
    first, second = (stride, 1) if variant == "a" else (1, stride)
    y = (
        x
        >> conv(width, 1, first, "conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> conv(width, 3, second, "conv2") >> BatchNorm(name="bn2") >> ReLU()
        >> conv(4 * width, 1, 1, "conv3") >> BatchNorm(name="bn3", gamma=ZEROS if zero_last else ONES)
    )  # fmt: skip
    return (y + shortcut(x, 4 * width, stride, variant)) >> ReLU()


def shortcut(x: Tensor, filters: int, stride: int, variant: str) -> Tensor:
    """The identity where shapes allow it, else a projection; variant d averages before it instead of striding."""
    if stride == 1 and x.channels == filters:
        return x
    if variant == "d":
        pool = AvgPool(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else Identity()
        return x >> Stack("downsample", pool, conv(filters, 1), BatchNorm())
    return x >> Stack("downsample", conv(filters, 1, stride), BatchNorm())


def stem(variant: str) -> Pipe:
    """One 7x7 convolution; in variants c and d three 3x3 ones."""
    if variant in "ab":
        return conv(64, 7, 2, "conv1")
    return Stack(
        "conv1",
        conv(32, 3, 2), BatchNorm(), ReLU(),
        conv(32, 3), BatchNorm(), ReLU(),
        conv(64, 3),
    )  # fmt: skip


def network(
    image: Tensor, residual: Callable[[int, int], Block], repeats: Sequence[int], variant: str, classes: int
) -> Tensor:
    """The stem, four stages of blocks `residual(width, stride)`, each narrower in pixels and twice as wide in
    channels as the one before, and the classifier."""
    x = image >> stem(variant) >> BatchNorm(name="bn1") >> ReLU() >> MaxPool(3, stride=2, padding=1)
    for i, (width, n) in enumerate(zip((64, 128, 256, 512), repeats, strict=True), 1):
        x >>= Stack(f"layer{i}", residual(width, 1 if i == 1 else 2), repeat(n - 1, residual, width, 1))
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="fc")


DEPTHS = {
    18: (basic, (2, 2, 2, 2)),
    34: (basic, (3, 4, 6, 3)),
    50: (bottleneck, (3, 4, 6, 3)),
    101: (bottleneck, (3, 4, 23, 3)),
    152: (bottleneck, (3, 8, 36, 3)),
}

VARIANTS = ("a", "b", "c", "d")


@architecture(
    family="resnet",
    input=(3, 224, 224),
    paper="He et al. 2016, Deep Residual Learning for Image Recognition, arXiv 1512.03385; "
    "variants b, c, d: He et al. 2019, Bag of Tricks for Image Classification, arXiv 1812.01187",
    labels="imagenet",
    variants={
        f"resnet{depth}{variant}": {"depth": depth, "variant": variant or "b"}
        for depth in DEPTHS
        for variant in ("", *VARIANTS)
    },
)
def resnet(
    image: Tensor, depth: int, variant: str = "b", classes: int = 1000, zero_init_last: bool = False
) -> Tensor:
    """Residual network; without a letter it is variant b, which torchvision and timm call by the plain name.

    `zero_init_last` starts every block as the identity (its last gamma is zero), which helps training.
    """
    if depth not in DEPTHS or variant not in VARIANTS:
        raise UnknownNameError("ResNet", f"{depth}{variant}", [f"{d}{v}" for d in DEPTHS for v in VARIANTS])
    residual, repeats = DEPTHS[depth]
    return network(image, partial(residual, variant=variant, zero_last=zero_init_last), repeats, variant, classes)
