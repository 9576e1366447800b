"""VGG nets: stages of 3x3 convolutions between poolings, 11 to 19 layers deep."""

from cnnir.errors import UnknownNameError
from cnnir.frontends.dsl import (
    ZEROS,
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    HeNormal,
    MaxPool,
    Normal,
    Pipe,
    ReLU,
    Stack,
    Tensor,
    architecture,
    shorthand,
)

# Convolutions of the five stages: columns A, B, D and E of the paper's table 1.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


@shorthand
def conv(filters: int, norm: bool) -> Pipe:
    """A 3x3 convolution that keeps the size, with or without batch normalisation, and ReLU."""
    layer = Conv(filters, 3, padding=1, init=HeNormal("fan_out"), bias_init=ZEROS)
    return layer >> BatchNorm() >> ReLU() if norm else layer >> ReLU()


@shorthand
def dense(units: int) -> Dense:
    """A dense layer with torchvision's initialisation."""
    return Dense(units, init=Normal(0.01), bias_init=ZEROS)


@architecture(
    input=(3, 224, 224),
    paper="Simonyan and Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition, "
    "arXiv 1409.1556",
    labels="imagenet",
    variants={
        f"vgg{depth}{suffix}": {"depth": depth, "norm": norm}
        for depth in DEPTHS
        for suffix, norm in (("", False), ("_bn", True))
    },
)
def vgg(
    image: Tensor, depth: int, norm: bool = False, classes: int = 1000, hidden: int = 4096, dropout: float = 0.5
) -> Tensor:
    """VGG net; `_bn` ones normalise before every ReLU, as torchvision's do (the paper's do not)."""
    if depth not in DEPTHS:
        raise UnknownNameError("VGG", str(depth), map(str, DEPTHS))
    layers: list[Pipe] = []
    for filters, count in zip(FILTERS, DEPTHS[depth], strict=True):
        layers += [*(conv(filters, norm) for _ in range(count)), MaxPool(2)]
    return (
        image
        >> Stack("features", *layers)
        >> AdaptiveAvgPool(7)
        >> Flatten()
        >> Stack(
            "classifier",
            dense(hidden), ReLU(), Dropout(dropout),
            dense(hidden), ReLU(), Dropout(dropout),
            dense(classes),
        )
    )  # fmt: skip
