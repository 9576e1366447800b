"""ZF-Net: AlexNet in one tower, with smaller kernels and strides in front."""

from cnnir.frontends.dsl import (
    Conv,
    Dense,
    Dropout,
    Flatten,
    LocalResponseNorm,
    MaxPool,
    ReLU,
    Tensor,
    architecture,
)


@architecture(
    input=(3, 224, 224),
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    labels="imagenet",
)
def zfnet(image: Tensor, classes: int = 1000, hidden: int = 4096, dropout: float = 0.5) -> Tensor:
    """ZF-Net: figure 3 of the paper, with maps of 110, 55, 26, 13 and 6 pixels.

    Responses are normalised after pooling, with AlexNet's constants.
    """

    def pool() -> MaxPool:
        return MaxPool(3, stride=2, ceil_mode=True)

    def contrast() -> LocalResponseNorm:
        return LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)

    return (
        image
        >> Conv(96, 7, stride=2, padding=1, name="conv1") >> ReLU() >> pool() >> contrast()
        >> Conv(256, 5, stride=2, name="conv2") >> ReLU() >> pool() >> contrast()
        >> Conv(384, 3, padding=1, name="conv3") >> ReLU()
        >> Conv(384, 3, padding=1, name="conv4") >> ReLU()
        >> Conv(256, 3, padding=1, name="conv5") >> ReLU() >> MaxPool(3, stride=2)
        >> Flatten()
        >> Dense(hidden, name="fc6") >> ReLU() >> Dropout(dropout)
        >> Dense(hidden, name="fc7") >> ReLU() >> Dropout(dropout)
        >> Dense(classes, name="fc8")
    )  # fmt: skip
