"""AlexNet."""

from cnnir.frontends.dsl import (
    AdaptiveAvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
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
