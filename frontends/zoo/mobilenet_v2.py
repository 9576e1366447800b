"""MobileNet v2 (Sandler et al. 2018): inverted residuals with linear bottlenecks."""

from cnnir.frontends.dsl import (
    ZEROS,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Layer,
    Normal,
    ReLU6,
    Stack,
    Tensor,
    architecture,
    block,
)

# Table 2 of the paper: expansion, filters, repetitions, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def divisible(filters: float, by: int = 8) -> int:
    """The nearest multiple, but at least `by` and not less than nine tenths of `filters`."""
    near = max(by, int(filters + by / 2) // by * by)
    return near + by if near < 0.9 * filters else near


def pointwise(filters: int) -> Conv:
    """A 1x1 convolution."""
    return Conv(filters, 1, bias=False, init=HeNormal("fan_out"))


@block
def inverted(x: Tensor, filters: int, stride: int, expansion: int) -> Tensor:
    """Widens, convolves every channel by itself, and narrows again without an activation (figure 3b)."""
    layers: list[Layer] = []
    if expansion != 1:
        layers.append(Stack(pointwise(expansion * x.channels), BatchNorm(), ReLU6()))
    depthwise = DepthwiseConv(3, stride, padding=1, bias=False, init=HeNormal())
    layers += [Stack(depthwise, BatchNorm(), ReLU6()), pointwise(filters), BatchNorm()]
    y = x >> Stack("conv", *layers)
    return x + y if stride == 1 and x.channels == filters else y


@architecture(
    family="mobilenet_v2",
    input=(3, 224, 224),
    paper="Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381",
    labels="imagenet",
    variants={"mobilenet_v2" if w == 1 else f"mobilenet_v2_{w:g}": {"width": w} for w in WIDTHS},
)
def mobilenet_v2(image: Tensor, width: float = 1.0, classes: int = 1000, dropout: float = 0.2) -> Tensor:
    """MobileNet v2 as in torchvision; all filters times `width`, the last ones never fewer than 1280."""
    blocks = [
        inverted(divisible(width * filters), stride if i == 0 else 1, expansion)
        for expansion, filters, repeats, stride in STAGES
        for i in range(repeats)
    ]
    stem = Conv(divisible(32 * width), 3, 2, padding=1, bias=False, init=HeNormal("fan_out"))
    return (
        image
        >> Stack(
            "features",
            Stack(stem, BatchNorm(), ReLU6()),
            *blocks,
            Stack(pointwise(divisible(1280 * max(1.0, width))), BatchNorm(), ReLU6()),
        )
        >> GlobalAvgPool() >> Flatten()
        >> Stack("classifier", Dropout(dropout), Dense(classes, init=Normal(0.01), bias_init=ZEROS))
    )  # fmt: skip
