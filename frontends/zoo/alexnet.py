"""AlexNet: the original with its two towers, and the form with one."""

from cnnir.frontends.dsl import (
    ONES,
    ZEROS,
    AdaptiveAvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LocalResponseNorm,
    MaxPool,
    Normal,
    ReLU,
    Stack,
    Tensor,
    architecture,
)


@architecture(
    input=(3, 224, 224),
    paper="Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997",
    labels="imagenet",
)
def alexnet(image: Tensor, classes: int = 1000, dropout: float = 0.5) -> Tensor:
    """AlexNet in its one-tower form, as in torchvision."""
    return (
        image
        >> Stack(
            "features",
            Conv(64, 11, stride=4, padding=2), ReLU(), MaxPool(3, stride=2),
            Conv(192, 5, padding=2), ReLU(), MaxPool(3, stride=2),
            Conv(384, 3, padding=1), ReLU(),
            Conv(256, 3, padding=1), ReLU(),
            Conv(256, 3, padding=1), ReLU(), MaxPool(3, stride=2),
        )
        >> AdaptiveAvgPool(6)
        >> Flatten()
        >> Stack(
            "classifier",
            Dropout(dropout), Dense(4096), ReLU(),
            Dropout(dropout), Dense(4096), ReLU(),
            Dense(classes),
        )
    )  # fmt: skip


def contrast() -> LocalResponseNorm:
    """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75; this alpha multiplies the sum, not the mean."""
    return LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


@architecture(
    family="alexnet",
    input=(3, 227, 227),
    paper="Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks, NIPS 25",
    labels="imagenet",
)
def alexnet_2012(image: Tensor, classes: int = 1000, hidden: int = 4096, dropout: float = 0.5) -> Tensor:
    """AlexNet of 2012: two towers (as two groups) that see each other in conv3 and the dense layers only.

    Poolings overlap; responses are normalised across all maps, as in Caffe, so that at the seam two maps of each
    tower see the other's. The paper speaks of 224 pixels, but its 55x55 maps need 227. Initialised as section 5
    says, with biases of 1 where it has them.
    """

    def conv(filters: int, kernel: int, name: str, groups: int, stride: int = 1) -> Conv:
        padding = 0 if stride > 1 else kernel // 2
        bias = ONES if groups == 2 else ZEROS
        return Conv(filters, kernel, stride, padding, groups=groups, init=Normal(0.01), bias_init=bias, name=name)

    def dense(units: int, name: str) -> Dense:
        return Dense(units, init=Normal(0.01), bias_init=ZEROS if name == "fc8" else ONES, name=name)

    return (
        image
        >> conv(96, 11, "conv1", 1, stride=4) >> ReLU() >> contrast() >> MaxPool(3, stride=2)
        >> conv(256, 5, "conv2", 2) >> ReLU() >> contrast() >> MaxPool(3, stride=2)
        >> conv(384, 3, "conv3", 1) >> ReLU()
        >> conv(384, 3, "conv4", 2) >> ReLU()
        >> conv(256, 3, "conv5", 2) >> ReLU() >> MaxPool(3, stride=2)
        >> Flatten()
        >> dense(hidden, "fc6") >> ReLU() >> Dropout(dropout)
        >> dense(hidden, "fc7") >> ReLU() >> Dropout(dropout)
        >> dense(classes, "fc8")
    )  # fmt: skip
