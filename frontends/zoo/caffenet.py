"""CaffeNet, and its smaller form CaffeNet128 with the modules that Mishkin et al. compared on it."""

from collections.abc import Callable, Mapping

from cnnir.errors import UnknownNameError
from cnnir.frontends.dsl import (
    ELU,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Identity,
    Layer,
    LeakyReLU,
    LocalResponseNorm,
    MaxPool,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
)

ACTIVATIONS: Mapping[str, Callable[[], Layer]] = {
    "relu": ReLU,
    "elu": ELU,
    "vlrelu": lambda: LeakyReLU(1 / 3),  # "very leaky"
}


def activation(name: str) -> Layer:
    """A layer by its name in the study."""
    if name not in ACTIVATIONS:
        raise UnknownNameError("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


@block
def max_and_average(x: Tensor) -> Tensor:
    """The sum of the maximum and the mean over 3x3 windows, section 3.3 of the study."""
    return (x >> MaxPool(3, stride=2, ceil_mode=True)) + (x >> AvgPool(3, stride=2, ceil_mode=True))


def colour_space(act: str) -> Layer:
    """Ten mixtures of the colours and three of those, pixel by pixel: section 3.2 of the study."""
    return Stack("colour", Conv(10, 1), activation(act), Conv(3, 1), activation(act))


SMALL: Mapping[str, object] = {"input": (3, 128, 128), "hidden": 2048, "lrn": False}


@architecture(
    input=(3, 227, 227),
    paper="Jia et al. 2014, Caffe: Convolutional Architecture for Fast Feature Embedding, arXiv 1408.5093; "
    "CaffeNet128: Mishkin et al. 2016, Systematic evaluation of CNN advances on the ImageNet, arXiv 1606.02228",
    labels="imagenet",
    variants={
        "caffenet": {},
        "caffenet128": {**SMALL, "lrn": True},
        "caffenet128_no_lrn": SMALL,
        "caffenet128_bn_before": {**SMALL, "norm": "before"},
        "caffenet128_bn_after": {**SMALL, "norm": "after"},
        "caffenet128_elu": {**SMALL, "act": "elu"},
        "caffenet128_vlrelu": {**SMALL, "act": "vlrelu"},
        "caffenet128_colour_elu": {**SMALL, "colour": "elu"},
        "caffenet128_colour_vlrelu": {**SMALL, "colour": "vlrelu"},
        "caffenet128_maxavg": {**SMALL, "sum_pools": True},
        "caffenet128_fcconv": {**SMALL, "act": "elu", "fc_as_conv": True},
        "caffenet128_all": {**SMALL, "act": "elu", "colour": "vlrelu", "sum_pools": True, "fc_as_conv": True},
    },
)
def caffenet(
    image: Tensor,
    classes: int = 1000,
    hidden: int = 4096,
    dropout: float = 0.5,
    lrn: bool = True,
    norm: str = "",
    act: str = "relu",
    colour: str = "",
    sum_pools: bool = False,
    fc_as_conv: bool = False,
) -> Tensor:
    """CaffeNet: AlexNet with pooling before normalisation; `caffenet128` ones have 128 pixels and 2048 units.

    `norm` puts a batch normalisation "before" or "after" every activation but the last layer's; `colour` begins
    with a learned transform of the colours that ends in that activation; `sum_pools` adds the mean to each maximum;
    `fc_as_conv` lets the dense layers slide over the padded maps and averages their predictions.
    """
    if norm not in ("", "before", "after"):
        raise UnknownNameError("place of the batch normalisation", norm, ("before", "after"))

    def unit(x: Tensor, layer: Layer) -> Tensor:
        """A layer with weights, the activation, and a normalisation on either side of it."""
        x >>= layer
        if norm == "before":
            x >>= BatchNorm(name=f"{layer.name}_bn")
        x >>= activation(act)
        if norm == "after":
            x >>= BatchNorm(name=f"{layer.name}_bn")
        return x

    def pool() -> Layer:
        return max_and_average() if sum_pools else MaxPool(3, stride=2, ceil_mode=True)

    def contrast() -> Layer:
        return LocalResponseNorm(5, alpha=1e-4, beta=0.75) if lrn else Identity()

    x = image >> colour_space(colour) if colour else image
    x = unit(x, Conv(96, 11, stride=4, name="conv1")) >> pool() >> contrast()
    x = unit(x, Conv(256, 5, padding=2, groups=2, name="conv2")) >> pool() >> contrast()
    x = unit(x, Conv(384, 3, padding=1, name="conv3"))
    x = unit(x, Conv(384, 3, padding=1, groups=2, name="conv4"))
    x = unit(x, Conv(256, 3, padding=1, groups=2, name="conv5")) >> pool()
    if fc_as_conv:
        x = unit(x, Conv(hidden, 3, padding=1, name="fc6")) >> Dropout(dropout)
        x = unit(x, Conv(hidden, 1, name="fc7")) >> Dropout(dropout)
        return x >> Conv(classes, 1, name="fc8") >> GlobalAvgPool() >> Flatten()
    x = unit(x >> Flatten(), Dense(hidden, name="fc6")) >> Dropout(dropout)
    x = unit(x, Dense(hidden, name="fc7")) >> Dropout(dropout)
    return x >> Dense(classes, name="fc8")
