"""The networks of the MLPerf Tiny benchmark."""

from cnnir.frontends.dsl import (
    ZEROS,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    ReLU,
    Tensor,
    architecture,
    block,
    shorthand,
)

EPSILON = 1e-3


@shorthand
def conv(filters: int, kernel_size: int, stride: int, name: str) -> Conv:
    """A convolution as Keras makes it: padding "same", and a bias even before a normalisation."""
    return Conv(filters, kernel_size, stride, "same", init=HeNormal(), bias_init=ZEROS, name=name)


@block
def stack(x: Tensor, filters: int, stride: int) -> Tensor:
    """A residual block; the projection of a strided one is not normalised."""
    y = (
        x
        >> conv(filters, 3, stride, "conv1") >> BatchNorm(EPSILON, name="bn1") >> ReLU()
        >> conv(filters, 3, 1, "conv2") >> BatchNorm(EPSILON, name="bn2")
    )  # fmt: skip
    return ((x if stride == 1 else x >> conv(filters, 1, stride, "shortcut")) + y) >> ReLU()


@architecture(
    family="mlperf_tiny",
    input=(3, 32, 32),
    paper="Banbury et al. 2021, MLPerf Tiny Benchmark, arXiv 2106.07597",
    labels="cifar10",
)
def resnet8_mlperf_tiny(image: Tensor, classes: int = 10) -> Tensor:
    """ResNet-8 for CIFAR-10, the image classification of MLPerf Tiny, as its Keras model."""
    return (
        image
        >> conv(16, 3, 1, "conv1") >> BatchNorm(EPSILON, name="bn1") >> ReLU()
        >> stack(16, 1) >> stack(32, 2) >> stack(64, 2)
        >> GlobalAvgPool() >> Flatten() >> Dense(classes, bias_init=ZEROS, name="dense")
    )  # fmt: skip
