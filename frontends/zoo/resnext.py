"""ResNeXt (Xie et al. 2017): residual networks whose 3x3 convolutions are grouped."""

from functools import partial

from cnnir.frontends.dsl import BatchNorm, Conv, HeNormal, ReLU, Tensor, architecture, block
from cnnir.frontends.zoo.resnet import conv, network, shortcut


@block
def bottleneck(x: Tensor, width: int, stride: int, groups: int, group_width: int) -> Tensor:
    """The paper's figure 3c: 1x1, 3x3 in groups, 1x1; `group_width` is a group's channels in the first stage."""
    inner = groups * group_width * width // 64
    grouped = Conv(inner, 3, stride, padding=1, groups=groups, bias=False, init=HeNormal("fan_out"), name="conv2")
    y = (
        x
        >> conv(inner, 1, 1, "conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> grouped >> BatchNorm(name="bn2") >> ReLU()
        >> conv(4 * width, 1, 1, "conv3") >> BatchNorm(name="bn3")
    )  # fmt: skip
    return (y + shortcut(x, 4 * width, stride, "b")) >> ReLU()


@architecture(
    family="resnext",
    input=(3, 224, 224),
    paper="Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, arXiv 1611.05431",
    labels="imagenet",
    variants={
        "resnext50_32x4d": {"repeats": (3, 4, 6, 3), "groups": 32, "group_width": 4},
        "resnext101_32x4d": {"repeats": (3, 4, 23, 3), "groups": 32, "group_width": 4},
        "resnext101_32x8d": {"repeats": (3, 4, 23, 3), "groups": 32, "group_width": 8},
        "resnext101_64x4d": {"repeats": (3, 4, 23, 3), "groups": 64, "group_width": 4},
    },
)
def resnext(image: Tensor, repeats: tuple[int, ...], groups: int, group_width: int, classes: int = 1000) -> Tensor:
    """ResNeXt; 32x4d means 32 groups of 4 channels in the first stage's 3x3 convolutions."""
    residual = partial(bottleneck, groups=groups, group_width=group_width)
    return network(image, residual, repeats, "b", classes)
