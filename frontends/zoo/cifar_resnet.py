"""The residual networks for CIFAR-10 (He et al. 2016, section 4.2)."""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Pad,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
    repeat,
    shorthand,
)

DEPTHS = (20, 32, 44, 56, 110)


@shorthand
def conv(filters: int, stride: int, name: str) -> Conv:
    """A 3x3 convolution."""
    return Conv(filters, 3, stride, padding=1, bias=False, init=HeNormal(), name=name)


def shortcut(x: Tensor, filters: int, stride: int, projected: bool) -> Tensor:
    """The identity; where shapes differ, every second pixel with channels of zeros on both sides (option A), or a
    projection (option B)."""
    if stride == 1 and x.channels == filters:
        return x
    if projected:
        return x >> Stack("shortcut", Conv(filters, 1, stride, bias=False, init=HeNormal()), BatchNorm())
    missing = filters - x.channels
    return x[:, :, ::stride, ::stride] >> Pad(channels=(missing // 2, missing - missing // 2))


@block
def basic(x: Tensor, filters: int, stride: int, projected: bool) -> Tensor:
    """Two 3x3 convolutions."""
    y = (
        x
        >> conv(filters, stride, "conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> conv(filters, 1, "conv2") >> BatchNorm(name="bn2")
    )  # fmt: skip
    return (y + shortcut(x, filters, stride, projected)) >> ReLU()


@architecture(
    family="cifar_resnet",
    input=(3, 32, 32),
    paper="He et al. 2016, Deep Residual Learning for Image Recognition, arXiv 1512.03385, section 4.2",
    labels="cifar10",
    variants={
        f"resnet{depth}_cifar10{suffix}": {"depth": depth, "projected": projected}
        for suffix, projected in (("", False), ("_b", True))
        for depth in DEPTHS
    },
)
def cifar_resnet(image: Tensor, depth: int, projected: bool = False, classes: int = 10) -> Tensor:
    """Residual network of 6n+2 layers with parameter-free shortcuts (option A), or projections (option B, `_b`).

    Parameters are called as in the repository akamaster/pytorch_resnet_cifar10.
    """
    n = (depth - 2) // 6
    return (
        image
        >> conv(16, 1, "conv1") >> BatchNorm(name="bn1") >> ReLU()
        >> Stack("layer1", repeat(n, basic, 16, 1, projected))
        >> Stack("layer2", basic(32, 2, projected), repeat(n - 1, basic, 32, 1, projected))
        >> Stack("layer3", basic(64, 2, projected), repeat(n - 1, basic, 64, 1, projected))
        >> GlobalAvgPool() >> Flatten() >> Dense(classes, init=HeNormal(), name="linear")
    )  # fmt: skip
