"""Ciresan's networks, the first to be trained on graphics cards: big perceptrons and a committee of columns."""

from cnnir.frontends.dsl import (
    Conv,
    Dense,
    Flatten,
    MaxPool,
    Pipe,
    Softmax,
    Stack,
    Tanh,
    Tensor,
    Uniform,
    add,
    architecture,
    block,
)


@block
def squash(x: Tensor) -> Tensor:
    """Both papers' activation A tanh(B x), with A = 1.7159 and B = 0.6666."""
    return (0.6666 * x >> Tanh()) * 1.7159


# Layers of table 1, by its numbers.
PERCEPTRONS: dict[int, tuple[int, ...]] = {
    1: (1000, 500),
    2: (1500, 1000, 500),
    3: (2000, 1500, 1000, 500),
    4: (2500, 2000, 1500, 1000, 500),
    5: (1000,) * 9,
}


@architecture(
    family="ciresan",
    input=(1, 29, 29),
    paper="Ciresan et al. 2010, Deep, Big, Simple Neural Nets for Handwritten Digit Recognition, arXiv 1003.0358",
    labels="digits",
    variants={f"ciresan_mlp{i}": {"hidden": hidden} for i, hidden in PERCEPTRONS.items()},
)
def ciresan_mlp(image: Tensor, hidden: tuple[int, ...], classes: int = 10) -> Tensor:
    """Perceptron on pixels; number 4 (2500, 2000, 1500, 1000, 500) is the one with 0.35% errors on MNIST.

    The weights that table 1 counts are those of 29x29 pixels (the deformed digits), not of MNIST's 28x28.
    """

    def dense(units: int) -> Dense:
        return Dense(units, init=Uniform(0.05), bias_init=Uniform(0.05))

    layers: list[Pipe] = []
    for units in hidden:
        layers += [dense(units), squash()]
    return image >> Flatten() >> Stack("layers", *layers, dense(classes))


def column(name: str, classes: int) -> Stack:
    """20C4-MP2-40C5-MP3-150N-10N: table 1 of the paper of 2012, MNIST."""
    return Stack(
        name,
        Conv(20, 4), squash(), MaxPool(2),
        Conv(40, 5), squash(), MaxPool(3), Flatten(),
        Dense(150), squash(), Dense(classes),
    )  # fmt: skip


@architecture(
    family="ciresan",
    input=(1, 29, 29),
    paper="Ciresan et al. 2012, Multi-column Deep Neural Networks for Image Classification, arXiv 1202.2745",
    labels="digits",
    output="probabilities",
    variants={"ciresan_dnn_mnist": {"columns": 1}, "ciresan_mcdnn_mnist": {"columns": 5}},
)
def ciresan_mcdnn(image: Tensor, columns: int = 5, classes: int = 10) -> Tensor:
    """Columns of the same shape and with weights of their own, whose class probabilities are averaged.

    The paper has five columns for each of seven widths to which digits are normalised; these are the five of one.
    """
    scores = [image >> column(f"column{i}", classes) >> Softmax() for i in range(columns)]
    return add(*scores) * (1 / columns) if columns > 1 else scores[0]
