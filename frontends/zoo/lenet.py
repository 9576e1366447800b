"""LeNet-5, in the common form and as the paper has it."""

from cnnir.frontends.dsl import (
    AvgPool,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    Layer,
    Stack,
    Tanh,
    Tensor,
    architecture,
    block,
    concat,
    scope,
    select,
)

PAPER = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 86(11)"


@architecture(family="lenet", input=(1, 32, 32), paper=PAPER, labels="digits")
def lenet5(image: Tensor, classes: int = 10) -> Tensor:
    """LeNet-5 as it is commonly written: plain average pooling, C3 fully connected, a dense output layer."""
    return (
        image
        >> Conv(6, 5, name="c1") >> Tanh() >> AvgPool(2)
        >> Conv(16, 5, name="c3") >> Tanh() >> AvgPool(2)
        >> Conv(120, 5, name="c5") >> Tanh() >> Flatten()
        >> Dense(84, name="f6") >> Tanh()
        >> Dense(classes, name="output")
    )  # fmt: skip


# Table I of the paper: the maps of S2 that each map of C3 is connected to.
C3_INPUTS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


@block
def squash(x: Tensor) -> Tensor:
    """The paper's activation A tanh(S x), appendix A."""
    return ((2 / 3) * x >> Tanh()) * 1.7159


def subsample(name: str) -> Layer:
    """A mean over 2x2, times a trained coefficient plus a trained bias a map, squashed."""
    return Stack(name, AvgPool(2), DepthwiseConv(1), squash())


@architecture(family="lenet", input=(1, 32, 32), paper=PAPER, labels="digits")
def lenet5_1998(image: Tensor, classes: int = 10) -> Tensor:
    """LeNet-5 of 1998 with its 60,000 trained parameters up to F6; the output layer is dense instead of RBF.

    Sub-sampling layers have a coefficient and a bias a map, and each map of C3 sees the maps of S2 that table I
    gives. The paper's output units measure the distance to hand-made bitmaps of the digits.
    """
    s2 = image >> Conv(6, 5, name="c1") >> squash() >> subsample("s2")
    with scope("c3"):
        maps = [select(s2, inputs) >> Conv(1, 5, name=str(i)) for i, inputs in enumerate(C3_INPUTS)]
    s4 = concat(*maps) >> squash() >> subsample("s4")
    f6 = s4 >> Conv(120, 5, name="c5") >> squash() >> Flatten() >> Dense(84, name="f6") >> squash()
    return f6 >> Dense(classes, name="output")
