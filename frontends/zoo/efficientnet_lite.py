"""EfficientNet-Lite 0 to 4: EfficientNet without squeeze-and-excitation and with ReLU6, for small devices."""

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
    ReLU6,
    Stack,
    Tensor,
    architecture,
    block,
    shorthand,
)
from cnnir.frontends.zoo.mobilenet_v2 import divisible

# Table 1 of the EfficientNet paper: expansion, kernel size, stride of the first, filters, repetitions.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)

# Width, depth, input size in pixels, dropout.
SCALES = (
    (1.0, 1.0, 224, 0.2),
    (1.0, 1.1, 240, 0.2),
    (1.1, 1.2, 260, 0.3),
    (1.2, 1.4, 280, 0.3),
    (1.4, 1.8, 300, 0.3),
)


@shorthand
def pointwise(filters: int, name: str) -> Conv:
    """A 1x1 convolution."""
    return Conv(filters, 1, bias=False, init=HeNormal("fan_out"), name=name)


@block
def inverted(
    x: Tensor, filters: int, kernel_size: int, stride: int, expansion: int, same: bool, epsilon: float
) -> Tensor:
    """MobileNet v2's inverted residual, with the names that timm gives its layers."""
    depthwise = DepthwiseConv(
        kernel_size, stride, "same" if same else kernel_size // 2, bias=False, init=HeNormal(), name="conv_dw"
    )
    if expansion == 1:
        y = (
            x
            >> depthwise >> BatchNorm(epsilon, name="bn1") >> ReLU6()
            >> pointwise(filters, "conv_pw") >> BatchNorm(epsilon, name="bn2")
        )  # fmt: skip
    else:
        y = (
            x
            >> pointwise(expansion * x.channels, "conv_pw") >> BatchNorm(epsilon, name="bn1") >> ReLU6()
            >> depthwise >> BatchNorm(epsilon, name="bn2") >> ReLU6()
            >> pointwise(filters, "conv_pwl") >> BatchNorm(epsilon, name="bn3")
        )  # fmt: skip
    return x + y if stride == 1 and x.channels == filters else y


def variants() -> dict[str, dict[str, object]]:
    """`tf_efficientnet_liteN` as Google trained it; `efficientnet_liteN` pads symmetrically."""
    table: dict[str, dict[str, object]] = {}
    for prefix, own in (("tf_", {}), ("", {"same": False, "epsilon": 1e-5})):
        for i, (width, depth, pixels, dropout) in enumerate(SCALES):
            scale = {"width": width, "depth": depth, "dropout": dropout, "input": (3, pixels, pixels)}
            table[f"{prefix}efficientnet_lite{i}"] = {**scale, **own}
    return table


@architecture(
    family="efficientnet_lite",
    input=(3, 224, 224),
    paper="Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, "
    "arXiv 1905.11946; Liu 2020, Higher accuracy on vision models with EfficientNet-Lite, TensorFlow blog",
    labels="imagenet",
    variants=variants(),
)
def efficientnet_lite(
    image: Tensor,
    width: float = 1.0,
    depth: float = 1.0,
    classes: int = 1000,
    dropout: float = 0.2,
    same: bool = True,
    epsilon: float = 1e-3,
) -> Tensor:
    """EfficientNet-Lite; `width` and `depth` scale all but the stem, the head and the ends' numbers of layers."""
    stages = []
    for i, (expansion, kernel_size, stride, filters, repeats) in enumerate(STAGES):
        n = repeats if i in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
        wide = divisible(filters * width)
        stages.append(
            Stack(
                *(inverted(wide, kernel_size, stride if j == 0 else 1, expansion, same, epsilon) for j in range(n))
            )
        )
    stem = Conv(32, 3, 2, "same" if same else 1, bias=False, init=HeNormal("fan_out"), name="conv_stem")
    return (
        image
        >> stem >> BatchNorm(epsilon, name="bn1") >> ReLU6()
        >> Stack("blocks", *stages)
        >> pointwise(1280, "conv_head") >> BatchNorm(epsilon, name="bn2") >> ReLU6()
        >> GlobalAvgPool() >> Flatten() >> Dropout(dropout)
        >> Dense(classes, name="classifier")
    )  # fmt: skip
