"""OverFeat's two classification networks."""

from cnnir.frontends.dsl import Conv, Dense, Dropout, Flatten, MaxPool, Pipe, ReLU, Stack, Tensor, architecture

PAPER = (
    "Sermanet et al. 2014, OverFeat: Integrated Recognition, Localization and Detection using Convolutional "
    "Networks, arXiv 1312.6229"
)


def classifier(widths: tuple[int, ...], classes: int, dropout: float) -> Pipe:
    """Dense layers with ReLU and dropout, and the last without."""
    hidden: list[Pipe] = []
    for width in widths:
        hidden += [Dense(width), ReLU(), Dropout(dropout)]
    return Stack("classifier", *hidden, Dense(classes))


@architecture(family="overfeat", input=(3, 231, 231), paper=PAPER, labels="imagenet")
def overfeat_fast(
    image: Tensor, classes: int = 1000, hidden: tuple[int, int] = (3072, 4096), dropout: float = 0.5
) -> Tensor:
    """OverFeat's fast model: table 1 of the paper. Poolings do not overlap, nothing is normalised."""
    return (
        image
        >> Stack(
            "features",
            Conv(96, 11, stride=4), ReLU(), MaxPool(2),
            Conv(256, 5), ReLU(), MaxPool(2),
            Conv(512, 3, padding=1), ReLU(),
            Conv(1024, 3, padding=1), ReLU(),
            Conv(1024, 3, padding=1), ReLU(), MaxPool(2),
        )
        >> Flatten()
        >> classifier(hidden, classes, dropout)
    )  # fmt: skip


@architecture(family="overfeat", input=(3, 221, 221), paper=PAPER, labels="imagenet")
def overfeat_accurate(
    image: Tensor, classes: int = 1000, hidden: tuple[int, int] = (4096, 4096), dropout: float = 0.5
) -> Tensor:
    """OverFeat's accurate model: table 3 of the paper, with smaller strides and one layer more."""
    return (
        image
        >> Stack(
            "features",
            Conv(96, 7, stride=2), ReLU(), MaxPool(3),
            Conv(256, 7), ReLU(), MaxPool(2),
            Conv(512, 3, padding=1), ReLU(),
            Conv(512, 3, padding=1), ReLU(),
            Conv(1024, 3, padding=1), ReLU(),
            Conv(1024, 3, padding=1), ReLU(), MaxPool(3),
        )
        >> Flatten()
        >> classifier(hidden, classes, dropout)
    )  # fmt: skip
