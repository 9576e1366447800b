"""SE-ResNet (Hu et al. 2018): residual networks whose blocks weigh their channels."""

from cnnir.frontends.dsl import BatchNorm, ReLU, Tensor, architecture, block, squeeze_excite
from cnnir.frontends.zoo.resnet import conv, network, shortcut

REDUCTION = 16


@block
def bottleneck(x: Tensor, width: int, stride: int) -> Tensor:
    """ResNet's, with squeeze and excitation before the sum (the paper's figure 3)."""
    y = (
        x
        >> conv(width, 1, 1, "conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> conv(width, 3, stride, "conv2") >> BatchNorm(name="bn2") >> ReLU()
        >> conv(4 * width, 1, 1, "conv3") >> BatchNorm(name="bn3")
        >> squeeze_excite(4 * width // REDUCTION).named("se")
    )  # fmt: skip
    return (y + shortcut(x, 4 * width, stride, "b")) >> ReLU()


@architecture(
    family="seresnet",
    input=(3, 224, 224),
    paper="Hu et al. 2018, Squeeze-and-Excitation Networks, arXiv 1709.01507",
    labels="imagenet",
    variants={
        "seresnet50": {"repeats": (3, 4, 6, 3)},
        "seresnet101": {"repeats": (3, 4, 23, 3)},
        "seresnet152": {"repeats": (3, 8, 36, 3)},
    },
)
def seresnet(image: Tensor, repeats: tuple[int, ...], classes: int = 1000) -> Tensor:
    """SE-ResNet with a reduction of 16; blocks stride in the 3x3 convolution, as timm's."""
    return network(image, bottleneck, repeats, "b", classes)
