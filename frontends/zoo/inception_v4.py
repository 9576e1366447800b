"""Inception-v4: a more uniform and deeper Inception without residual connections."""

from cnnir.frontends.dsl import (
    AvgPool,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool,
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
def mixed_3a(x: Tensor) -> Tensor:
    """Pooling beside a strided convolution; figure 3 of the paper shows the stem up to `mixed_5a`."""
    return concat(x >> MaxPool(3, 2), x >> conv(96, 3, 2).named("conv"))


@block
def mixed_4a(x: Tensor) -> Tensor:
    """A short branch, and one that looks farther in rows and columns."""
    return concat(
        x >> Stack("branch0", conv(64, 1), conv(96, 3)),
        x >> Stack("branch1", conv(64, 1), conv(64, *ROW7), conv(64, *COLUMN7), conv(96, 3)),
    )


@block
def mixed_5a(x: Tensor) -> Tensor:
    """A strided convolution beside pooling."""
    return concat(x >> conv(192, 3, 2).named("conv"), x >> MaxPool(3, 2))


def pooled(filters: int) -> Stack:
    """A mean over 3x3 that does not count the padding, projected."""
    return Stack("branch3", AvgPool(3, 1, padding=1, count_include_pad=False), conv(filters, 1))


@block
def inception_a(x: Tensor) -> Tensor:
    """Figure 4, for the 35x35 grid."""
    return concat(
        x >> conv(96, 1).named("branch0"),
        x >> Stack("branch1", conv(64, 1), conv(96, 3, padding=1)),
        x >> Stack("branch2", conv(64, 1), conv(96, 3, padding=1), conv(96, 3, padding=1)),
        x >> pooled(96),
    )


@block
def reduction_a(x: Tensor) -> Tensor:
    """Figure 7, from 35x35 to 17x17; table 1 gives k, l, m, n = 192, 224, 256, 384."""
    return concat(
        x >> conv(384, 3, 2).named("branch0"),
        x >> Stack("branch1", conv(192, 1), conv(224, 3, padding=1), conv(256, 3, 2)),
        x >> MaxPool(3, 2),
    )


@block
def inception_b(x: Tensor) -> Tensor:
    """Figure 5, for the 17x17 grid."""
    return concat(
        x >> conv(384, 1).named("branch0"),
        x >> Stack("branch1", conv(192, 1), conv(224, *ROW7), conv(256, *COLUMN7)),
        x
        >> Stack(
            "branch2",
            conv(192, 1),
            conv(192, *COLUMN7),
            conv(224, *ROW7),
            conv(224, *COLUMN7),
            conv(256, *ROW7),
        ),
        x >> pooled(128),
    )


@block
def reduction_b(x: Tensor) -> Tensor:
    """Figure 8, from 17x17 to 8x8."""
    return concat(
        x >> Stack("branch0", conv(192, 1), conv(192, 3, 2)),
        x >> Stack("branch1", conv(256, 1), conv(256, *ROW7), conv(320, *COLUMN7), conv(320, 3, 2)),
        x >> MaxPool(3, 2),
    )


@block
def inception_c(x: Tensor) -> Tensor:
    """Figure 6, for the 8x8 grid."""
    one = x >> conv(384, 1).named("branch1_0")
    two = (
        x
        >> conv(384, 1).named("branch2_0")
        >> conv(448, *COLUMN3).named("branch2_1")
        >> conv(512, *ROW3).named("branch2_2")
    )
    return concat(
        x >> conv(256, 1).named("branch0"),
        concat(one >> conv(256, *ROW3).named("branch1_1a"), one >> conv(256, *COLUMN3).named("branch1_1b")),
        concat(two >> conv(256, *ROW3).named("branch2_3a"), two >> conv(256, *COLUMN3).named("branch2_3b")),
        x >> pooled(256),
    )


@architecture(
    input=(3, 299, 299),
    paper="Szegedy et al. 2017, Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, "
    "arXiv 1602.07261",
    labels="imagenet",
)
def inception_v4(image: Tensor, classes: int = 1000) -> Tensor:
    """Inception-v4 as in timm, which leaves out the paper's dropout."""
    features = Stack(
        "features",
        conv(32, 3, 2), conv(32, 3), conv(64, 3, padding=1), mixed_3a(), mixed_4a(), mixed_5a(),
        repeat(4, inception_a), reduction_a(),
        repeat(7, inception_b), reduction_b(),
        repeat(3, inception_c),
    )  # fmt: skip
    return image >> features >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="last_linear")
