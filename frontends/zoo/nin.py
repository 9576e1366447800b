"""Network in Network: a small perceptron, two 1x1 convolutions, behind every convolution."""

from cnnir.frontends.dsl import (
    AvgPool,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    ReLU,
    Stack,
    Tensor,
    architecture,
)

PAPER = "Lin et al. 2014, Network In Network, arXiv 1312.4400"


def mlpconv(name: str, kernel: int, filters: tuple[int, int, int], stride: int = 1, padding: int = 0) -> Stack:
    """A convolution and, on every pixel, two layers of a perceptron."""
    first, second, third = filters
    return Stack(
        name,
        Conv(first, kernel, stride, padding), ReLU(),
        Conv(second, 1), ReLU(),
        Conv(third, 1), ReLU(),
    )  # fmt: skip


@architecture(family="nin", input=(3, 224, 224), paper=PAPER, labels="imagenet")
def nin_imagenet(image: Tensor, classes: int = 1000, dropout: float = 0.5) -> Tensor:
    """Network in Network for ImageNet, as its authors published it for Caffe; each class is the mean of a map."""

    def pool() -> MaxPool:
        return MaxPool(3, stride=2, ceil_mode=True)

    return (
        image
        >> mlpconv("mlpconv1", 11, (96, 96, 96), stride=4) >> pool()
        >> mlpconv("mlpconv2", 5, (256, 256, 256), padding=2) >> pool()
        >> mlpconv("mlpconv3", 3, (384, 384, 384), padding=1) >> pool() >> Dropout(dropout)
        >> mlpconv("mlpconv4", 3, (1024, 1024, classes), padding=1)
        >> GlobalAvgPool() >> Flatten()
    )  # fmt: skip


@architecture(family="nin", input=(3, 32, 32), paper=PAPER, labels="cifar10")
def nin_cifar10(image: Tensor, classes: int = 10, dropout: float = 0.5) -> Tensor:
    """Network in Network for CIFAR-10, as its authors published it for Caffe."""
    return (
        image
        >> mlpconv("mlpconv1", 5, (192, 160, 96), padding=2)
        >> MaxPool(3, stride=2, ceil_mode=True) >> Dropout(dropout)
        >> mlpconv("mlpconv2", 5, (192, 192, 192), padding=2)
        >> AvgPool(3, stride=2, ceil_mode=True) >> Dropout(dropout)
        >> mlpconv("mlpconv3", 3, (192, 192, classes), padding=1)
        >> GlobalAvgPool() >> Flatten()
    )  # fmt: skip
