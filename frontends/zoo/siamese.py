"""A Siamese network: one tower applied to two images, compared by the distance of what it makes of them."""

from cnnir.frontends.dsl import (
    Abs,
    Conv,
    Dense,
    Flatten,
    MaxPool,
    Normal,
    ReLU,
    Sigmoid,
    Stack,
    Tensor,
    architecture,
)


def conv(filters: int, kernel_size: int) -> Conv:
    """Section 3.1.2: weights of standard deviation 0.01 (biases drawn around 0.5 there)."""
    return Conv(filters, kernel_size, init=Normal(0.01))


@architecture(
    family="siamese",
    input={"first": (1, 105, 105), "second": (1, 105, 105)},
    paper="Koch et al. 2015, Siamese Neural Networks for One-shot Image Recognition, ICML Deep Learning Workshop; "
    "after Bromley et al. 1993, Signature Verification using a Siamese Time Delay Neural Network, NIPS 6",
    labels="same",
    output="probability",
)
def siamese_oneshot(first: Tensor, second: Tensor, features: int = 4096) -> Tensor:
    """The probability that two drawings show the same character: figure 4 of Koch et al.

    The tower is one layer object, so both images pass through the same weights.
    """
    tower = Stack(
        "tower",
        conv(64, 10), ReLU(), MaxPool(2),
        conv(128, 7), ReLU(), MaxPool(2),
        conv(128, 4), ReLU(), MaxPool(2),
        conv(256, 4), ReLU(),
        Flatten(), Dense(features, init=Normal(0.2)), Sigmoid(),
    )  # fmt: skip
    distance = ((first >> tower) - (second >> tower)) >> Abs()
    return distance >> Dense(1, init=Normal(0.2), name="head") >> Sigmoid()
