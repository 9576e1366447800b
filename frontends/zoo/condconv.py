"""EfficientNet with conditionally parameterised convolutions: each image has its own mixture of expert kernels."""

import math

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Reshape,
    Sigmoid,
    SiLU,
    Stack,
    Tensor,
    add,
    architecture,
    block,
    concat,
    shorthand,
)

# EfficientNet's stages: expansion, kernel size, stride of the first, filters, repetitions, whether experts mix.
STAGES = (
    (1, 3, 1, 16, 1, False),
    (6, 3, 2, 24, 2, False),
    (6, 5, 2, 40, 2, False),
    (6, 3, 2, 80, 3, False),
    (6, 5, 1, 112, 3, True),
    (6, 5, 2, 192, 4, True),
    (6, 3, 1, 320, 1, True),
)


@shorthand
def pointwise(filters: int, name: str) -> Conv:
    """A 1x1 convolution."""
    return Conv(filters, 1, bias=False, init=HeNormal("fan_out"), name=name)


@shorthand
def depthwise(kernel_size: int, stride: int, name: str) -> DepthwiseConv:
    return DepthwiseConv(kernel_size, stride, "same", bias=False, init=HeNormal(), name=name)


@shorthand
def norm(name: str) -> BatchNorm:
    return BatchNorm(1e-3, name=name)


def routing(x: Tensor, experts: int) -> list[Tensor]:
    """Section 3, equation 2: a weight between 0 and 1 for each expert, of the image's mean pixel."""
    weights = x >> GlobalAvgPool() >> Flatten() >> Dense(experts, name="routing_fn") >> Sigmoid()
    weights >>= Reshape((experts, 1, 1))
    return [weights[:, k : k + 1] for k in range(experts)]


def mixed_pointwise(x: Tensor, weights: list[Tensor], filters: int, name: str) -> Tensor:
    """The 1x1 convolution with kernel sum(w[k] * kernel[k]).

    A convolution is linear, so it is the sum over k of w[k] * x convolved with kernel k: one convolution of the
    scaled copies side by side, whose weight `[filters, experts * C, 1, 1]` holds the experts side by side.
    """
    return concat(*(x * w for w in weights)) >> pointwise(filters, name)


def mixed_depthwise(x: Tensor, weights: list[Tensor], kernel_size: int, stride: int, name: str) -> Tensor:
    """The same for a depthwise convolution: each expert by itself, weighted and added up."""
    return add(*((x >> depthwise(kernel_size, stride, f"{name}.{k}")) * w for k, w in enumerate(weights)))


@block
def squeeze_excite(x: Tensor, squeezed: int) -> Tensor:
    """Channels scaled by two 1x1 convolutions of their means, with SiLU in between."""
    gate = x >> GlobalAvgPool() >> Conv(squeezed, 1, name="conv_reduce") >> SiLU()
    return x * (gate >> Conv(x.channels, 1, name="conv_expand") >> Sigmoid())


@block
def inverted(x: Tensor, filters: int, kernel_size: int, stride: int, expansion: int, experts: int) -> Tensor:
    """EfficientNet's inverted residual, named as in timm; with experts, one routing for all its convolutions."""
    squeeze = squeeze_excite(x.channels // 4).named("se")
    if expansion == 1:
        y = x >> depthwise(kernel_size, stride, "conv_dw") >> norm("bn1") >> SiLU() >> squeeze
        y = y >> pointwise(filters, "conv_pw") >> norm("bn2")
        return x + y if stride == 1 and x.channels == filters else y
    wide = expansion * x.channels
    if not experts:
        y = x >> pointwise(wide, "conv_pw") >> norm("bn1") >> SiLU()
        y = y >> depthwise(kernel_size, stride, "conv_dw") >> norm("bn2") >> SiLU() >> squeeze
        y = y >> pointwise(filters, "conv_pwl") >> norm("bn3")
    else:
        weights = routing(x, experts)
        y = mixed_pointwise(x, weights, wide, "conv_pw") >> norm("bn1") >> SiLU()
        y = mixed_depthwise(y, weights, kernel_size, stride, "conv_dw") >> norm("bn2") >> SiLU() >> squeeze
        y = mixed_pointwise(y, weights, filters, "conv_pwl") >> norm("bn3")
    return x + y if stride == 1 and x.channels == filters else y


@architecture(
    family="condconv",
    input=(3, 224, 224),
    paper="Yang et al. 2019, CondConv: Conditionally Parameterized Convolutions for Efficient Inference, "
    "arXiv 1904.04971",
    labels="imagenet",
    variants={
        "tf_efficientnet_cc_b0_4e": {"experts": 4},
        "tf_efficientnet_cc_b0_8e": {"experts": 8},
        "tf_efficientnet_cc_b1_8e": {"experts": 8, "depth": 1.1, "input": (3, 240, 240)},
    },
)
def condconv_efficientnet(
    image: Tensor, experts: int = 4, depth: float = 1.0, classes: int = 1000, dropout: float = 0.2
) -> Tensor:
    """CondConv-EfficientNet as in timm: experts in the last three stages.

    Kernels of a mixture are never formed: every expert convolves, which is exact for any batch, and counts more
    products than the paper, whose 413 million of `b0_4e` are those of a single image with its own kernels.
    """
    stages = []
    for expansion, kernel_size, stride, filters, repeats, mixes in STAGES:
        n = math.ceil(repeats * depth)
        mixed = experts if mixes else 0
        stages.append(
            Stack(*(inverted(filters, kernel_size, stride if j == 0 else 1, expansion, mixed) for j in range(n)))
        )
    return (
        image
        >> Conv(32, 3, 2, "same", bias=False, init=HeNormal("fan_out"), name="conv_stem") >> norm("bn1") >> SiLU()
        >> Stack("blocks", *stages)
        >> pointwise(1280, "conv_head") >> norm("bn2") >> SiLU()
        >> GlobalAvgPool() >> Flatten() >> Dropout(dropout)
        >> Dense(classes, name="classifier")
    )  # fmt: skip
