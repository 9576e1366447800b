"""Inception-v3: factorised and asymmetric convolutions, and a reduction of the grid without a bottleneck."""

from cnnir.frontends.dsl import (
    AvgPool,
    Block,
    Chain,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Outputs,
    Tensor,
    architecture,
    block,
    concat,
    training_only,
)
from cnnir.frontends.zoo.googlenet import conv_bn_relu as conv

# Asymmetric convolutions of n pixels in a row or in a column keep the size.
ROW3 = ((1, 3), 1, (0, 1))
COLUMN3 = ((3, 1), 1, (1, 0))
ROW7 = ((1, 7), 1, (0, 3))
COLUMN7 = ((7, 1), 1, (3, 0))


def branch(name: str, *layers: Block) -> Chain:
    """Layers one after the other, called `name_1`, `name_2` and so on."""
    return Chain(*(layer.named(f"{name}_{i}") for i, layer in enumerate(layers, 1)))


def pooled(x: Tensor, filters: int) -> Tensor:
    """A mean over 3x3 that counts the zeros of the padding, projected."""
    return x >> AvgPool(3, 1, padding=1) >> conv(filters, 1).named("branch_pool")


@block
def inception_a(x: Tensor, pool: int) -> Tensor:
    """Figure 5 of the paper: two 3x3 convolutions instead of a 5x5 one."""
    return concat(
        x >> conv(64, 1).named("branch1x1"),
        x >> branch("branch5x5", conv(48, 1), conv(64, 5, padding=2)),
        x >> branch("branch3x3dbl", conv(64, 1), conv(96, 3, padding=1), conv(96, 3, padding=1)),
        pooled(x, pool),
    )


@block
def reduction_b(x: Tensor) -> Tensor:
    """Figure 10: strided convolutions beside pooling."""
    return concat(
        x >> conv(384, 3, 2).named("branch3x3"),
        x >> branch("branch3x3dbl", conv(64, 1), conv(96, 3, padding=1), conv(96, 3, 2)),
        x >> MaxPool(3, 2),
    )


@block
def inception_c(x: Tensor, width: int) -> Tensor:
    """Figure 6: 7x7 convolutions factorised into 1x7 and 7x1."""
    return concat(
        x >> conv(192, 1).named("branch1x1"),
        x >> branch("branch7x7", conv(width, 1), conv(width, *ROW7), conv(192, *COLUMN7)),
        x
        >> branch(
            "branch7x7dbl",
            conv(width, 1),
            conv(width, *COLUMN7),
            conv(width, *ROW7),
            conv(width, *COLUMN7),
            conv(192, *ROW7),
        ),
        pooled(x, 192),
    )


@block
def reduction_d(x: Tensor) -> Tensor:
    """The second reduction of the grid."""
    return concat(
        x >> branch("branch3x3", conv(192, 1), conv(320, 3, 2)),
        x >> branch("branch7x7x3", conv(192, 1), conv(192, *ROW7), conv(192, *COLUMN7), conv(192, 3, 2)),
        x >> MaxPool(3, 2),
    )


@block
def inception_e(x: Tensor) -> Tensor:
    """Figure 7: rows and columns side by side, for many channels on a coarse grid."""
    three = x >> conv(384, 1).named("branch3x3_1")
    double = x >> branch("branch3x3dbl", conv(448, 1), conv(384, 3, padding=1))
    return concat(
        x >> conv(320, 1).named("branch1x1"),
        concat(
            three >> conv(384, *ROW3).named("branch3x3_2a"),
            three >> conv(384, *COLUMN3).named("branch3x3_2b"),
        ),
        concat(
            double >> conv(384, *ROW3).named("branch3x3dbl_3a"),
            double >> conv(384, *COLUMN3).named("branch3x3dbl_3b"),
        ),
        pooled(x, 192),
    )


@block
def auxiliary(x: Tensor, classes: int) -> Tensor:
    """Section 4: the classifier beside the last 17x17 grid."""
    x = x >> AvgPool(5, 3) >> conv(128, 1).named("conv0") >> conv(768, 5).named("conv1")
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="fc")


@architecture(
    input=(3, 299, 299),
    paper="Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567",
    labels="imagenet",
)
def inception_v3(
    image: Tensor, classes: int = 1000, dropout: float = 0.5, transform_input: bool = False
) -> Outputs:
    """Inception-v3 as in torchvision; an auxiliary head in training.

    `transform_input` takes images normalised by ImageNet's mean and deviation to the range -1..1, for which
    Google's weights were trained.
    """
    x = inception_range(image) if transform_input else image
    x = (
        x
        >> conv(32, 3, 2).named("Conv2d_1a_3x3")
        >> conv(32, 3).named("Conv2d_2a_3x3")
        >> conv(64, 3, padding=1).named("Conv2d_2b_3x3")
        >> MaxPool(3, 2)
        >> conv(80, 1).named("Conv2d_3b_1x1")
        >> conv(192, 3).named("Conv2d_4a_3x3")
        >> MaxPool(3, 2)
    )
    for name, pool in {"Mixed_5b": 32, "Mixed_5c": 64, "Mixed_5d": 64}.items():
        x >>= inception_a(pool).named(name)
    x >>= reduction_b().named("Mixed_6a")
    for name, width in {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}.items():
        x >>= inception_c(width).named(name)
    aux = x
    x >>= reduction_d().named("Mixed_7a")
    for name in ("Mixed_7b", "Mixed_7c"):
        x >>= inception_e().named(name)
    return {
        "logits": x >> GlobalAvgPool() >> Dropout(dropout) >> Flatten() >> Dense(classes, name="fc"),
        "aux": training_only(lambda: aux >> auxiliary(classes).named("AuxLogits")),
    }


def inception_range(image: Tensor) -> Tensor:
    """Undoes (x - mean) / deviation of ImageNet's pixels in 0..1, and puts them into -1..1."""
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return concat(
        *(
            image[:, c : c + 1] * (deviation / 0.5) + (mean - 0.5) / 0.5
            for c, (mean, deviation) in enumerate(zip(means, deviations, strict=True))
        )
    )
