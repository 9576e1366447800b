"""Xception: separable convolutions throughout, with residual connections."""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Layer,
    MaxPool,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
)


@block
def separable(x: Tensor, filters: int) -> Tensor:
    """3x3 in every channel, then 1x1 across channels, with nothing in between."""
    return (
        x
        >> DepthwiseConv(3, padding=1, bias=False, init=HeNormal(), name="conv1")
        >> Conv(filters, 1, bias=False, init=HeNormal(), name="pointwise")
    )


@block
def residual(x: Tensor, widths: tuple[int, ...], stride: int, starts_with_relu: bool) -> Tensor:
    """A ReLU before each separable convolution, pooling after the last if it strides, and a shortcut."""
    layers: list[Layer] = []
    for width in widths:
        layers += [ReLU(), separable(width), BatchNorm()]
    if not starts_with_relu:
        del layers[0]
    if stride > 1:
        layers.append(MaxPool(3, stride, padding=1))
    y = x >> Stack("rep", *layers)
    if stride > 1 or x.channels != widths[-1]:
        x = x >> Conv(widths[-1], 1, stride, bias=False, init=HeNormal(), name="skip") >> BatchNorm(name="skipbn")
    return y + x


# Figure 5 of the paper: widths and stride of each residual module; only the first begins without a ReLU.
MODULES = (
    ((128, 128), 2),
    ((256, 256), 2),
    ((728, 728), 2),
    *(((728, 728, 728), 1),) * 8,
    ((728, 1024), 2),
)


@architecture(
    input=(3, 299, 299),
    paper="Chollet 2017, Xception: Deep Learning with Depthwise Separable Convolutions, arXiv 1610.02357",
    labels="imagenet",
)
def xception(image: Tensor, classes: int = 1000) -> Tensor:
    """Xception as in Keras, with timm's names (`legacy_xception` there) and its paddings."""
    x = (
        image
        >> Conv(32, 3, 2, bias=False, init=HeNormal(), name="conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> Conv(64, 3, bias=False, init=HeNormal(), name="conv2") >> BatchNorm(name="bn2") >> ReLU()
    )  # fmt: skip
    for i, (widths, stride) in enumerate(MODULES, 1):
        x >>= residual(widths, stride, starts_with_relu=i > 1).named(f"block{i}")
    for i, width in ((3, 1536), (4, 2048)):
        x = x >> separable(width).named(f"conv{i}") >> BatchNorm(name=f"bn{i}") >> ReLU()
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="fc")
