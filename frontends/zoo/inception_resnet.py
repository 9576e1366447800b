"""Inception-ResNet-v2: Inception branches that compute scaled residuals."""

from cnnir.frontends.dsl import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    MaxPool,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
    concat,
    repeat,
)
from cnnir.frontends.zoo.googlenet import conv_bn_relu as conv
from cnnir.frontends.zoo.inception_v3 import COLUMN3, COLUMN7, ROW3, ROW7


@block
def mixed_5b(x: Tensor) -> Tensor:
    """The last module of the stem, an Inception without a residual."""
    return concat(
        x >> conv(96, 1).named("branch0"),
        x >> Stack("branch1", conv(48, 1), conv(64, 5, padding=2)),
        x >> Stack("branch2", conv(64, 1), conv(96, 3, padding=1), conv(96, 3, padding=1)),
        x >> Stack("branch3", AvgPool(3, 1, padding=1, count_include_pad=False), conv(64, 1)),
    )


def scaled(x: Tensor, *branches: Tensor, scale: float) -> Tensor:
    """x plus a small multiple of the branches, brought to its channels by a 1x1 convolution with a bias.

    Section 3.3: without the scale, networks with many filters die early in training.
    """
    residual = concat(*branches) >> Conv(x.channels, 1, init=HeNormal(), name="conv2d")
    return (residual if scale == 1.0 else residual * scale) + x


@block
def block35(x: Tensor) -> Tensor:
    """Figure 16 of the paper, for the 35x35 grid."""
    return (
        scaled(
            x,
            x >> conv(32, 1).named("branch0"),
            x >> Stack("branch1", conv(32, 1), conv(32, 3, padding=1)),
            x >> Stack("branch2", conv(32, 1), conv(48, 3, padding=1), conv(64, 3, padding=1)),
            scale=0.17,
        )
        >> ReLU()
    )


@block
def mixed_6a(x: Tensor) -> Tensor:
    """Figure 7, from 35x35 to 17x17; table 1 gives k, l, m, n = 256, 256, 384, 384."""
    return concat(
        x >> conv(384, 3, 2).named("branch0"),
        x >> Stack("branch1", conv(256, 1), conv(256, 3, padding=1), conv(384, 3, 2)),
        x >> MaxPool(3, 2),
    )


@block
def block17(x: Tensor) -> Tensor:
    """Figure 17, for the 17x17 grid."""
    return (
        scaled(
            x,
            x >> conv(192, 1).named("branch0"),
            x >> Stack("branch1", conv(128, 1), conv(160, *ROW7), conv(192, *COLUMN7)),
            scale=0.1,
        )
        >> ReLU()
    )


@block
def mixed_7a(x: Tensor) -> Tensor:
    """Figure 18, from 17x17 to 8x8."""
    return concat(
        x >> Stack("branch0", conv(256, 1), conv(384, 3, 2)),
        x >> Stack("branch1", conv(256, 1), conv(288, 3, 2)),
        x >> Stack("branch2", conv(256, 1), conv(288, 3, padding=1), conv(320, 3, 2)),
        x >> MaxPool(3, 2),
    )


@block
def block8(x: Tensor, scale: float = 0.2, activate: bool = True) -> Tensor:
    """Figure 19, for the 8x8 grid; the last one is neither scaled nor followed by a ReLU."""
    y = scaled(
        x,
        x >> conv(192, 1).named("branch0"),
        x >> Stack("branch1", conv(192, 1), conv(224, *ROW3), conv(256, *COLUMN3)),
        scale=scale,
    )
    return y >> ReLU() if activate else y


@architecture(
    family="inception_resnet",
    input=(3, 299, 299),
    paper="Szegedy et al. 2017, Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, "
    "arXiv 1602.07261",
    labels="imagenet",
)
def inception_resnet_v2(image: Tensor, classes: int = 1000) -> Tensor:
    """Inception-ResNet-v2 as in timm, whose widths are those of Google's published weights."""
    return (
        image
        >> conv(32, 3, 2).named("conv2d_1a")
        >> conv(32, 3).named("conv2d_2a")
        >> conv(64, 3, padding=1).named("conv2d_2b")
        >> MaxPool(3, 2)
        >> conv(80, 1).named("conv2d_3b")
        >> conv(192, 3).named("conv2d_4a")
        >> MaxPool(3, 2)
        >> mixed_5b().named("mixed_5b")
        >> Stack("repeat", repeat(10, block35))
        >> mixed_6a().named("mixed_6a")
        >> Stack("repeat_1", repeat(20, block17))
        >> mixed_7a().named("mixed_7a")
        >> Stack("repeat_2", repeat(9, block8))
        >> block8(1.0, activate=False).named("block8")
        >> conv(1536, 1).named("conv2d_7b")
        >> GlobalAvgPool()
        >> Flatten()
        >> Dense(classes, name="classif")
    )
