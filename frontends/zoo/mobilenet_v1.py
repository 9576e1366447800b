"""MobileNet v1 (Howard et al. 2017): depthwise separable convolutions, in four widths and four resolutions."""

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
)

WIDTHS = (1.0, 0.75, 0.5, 0.25)
RESOLUTIONS = (224, 192, 160, 128)

# Table 1 of the paper: filters and stride of each depthwise separable layer; a group of them a resolution.
STAGES = (
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)


@block
def separable(x: Tensor, filters: int, stride: int, same: bool, epsilon: float) -> Tensor:
    """A 3x3 convolution of every channel by itself, then a 1x1 convolution (figure 3, right)."""
    return (
        x
        >> DepthwiseConv(3, stride, "same" if same else 1, bias=False, init=HeNormal(), name="conv_dw")
        >> BatchNorm(epsilon, name="bn1") >> ReLU6()
        >> Conv(filters, 1, bias=False, init=HeNormal("fan_out"), name="conv_pw")
        >> BatchNorm(epsilon, name="bn2") >> ReLU6()
    )  # fmt: skip


def variants() -> dict[str, dict[str, object]]:
    """`mobilenet_v1_WIDTH_RESOLUTION`, without what is 1 or 224; `mobilenetv1_100` and `_125` are timm's."""
    table: dict[str, dict[str, object]] = {}
    for width in WIDTHS:
        for pixels in RESOLUTIONS:
            parts = [
                "mobilenet_v1",
                *([f"{width:g}"] if width != 1 else []),
                *([str(pixels)] if pixels < 224 else []),
            ]
            table["_".join(parts)] = {"width": width, "input": (3, pixels, pixels)}
    for width in (1.0, 1.25):
        table[f"mobilenetv1_{width * 100:.0f}"] = {"width": width, "same": False, "epsilon": 1e-5}
    return table


@architecture(
    family="mobilenet_v1",
    input=(3, 224, 224),
    paper="Howard et al. 2017, MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, "
    "arXiv 1704.04861",
    labels="imagenet",
    variants=variants(),
)
def mobilenet_v1(
    image: Tensor, width: float = 1.0, classes: int = 1000, same: bool = True, epsilon: float = 1e-3
) -> Tensor:
    """MobileNet v1; filters times `width`, strided layers padded as TensorFlow does ("same") or by 1 all around.

    Parameters are called as timm's, whose own variant pads symmetrically.
    """

    def scaled(filters: int) -> int:
        return max(8, int(filters * width))

    stem = Conv(scaled(32), 3, 2, "same" if same else 1, bias=False, init=HeNormal("fan_out"), name="conv_stem")
    blocks = (
        Stack(*(separable(scaled(filters), stride, same, epsilon) for filters, stride in stage)) for stage in STAGES
    )
    return (
        image
        >> stem >> BatchNorm(epsilon, name="bn1") >> ReLU6()
        >> Stack("blocks", *blocks)
        >> GlobalAvgPool() >> Flatten() >> Dropout(0.001)
        >> Dense(classes, name="classifier")
    )  # fmt: skip
