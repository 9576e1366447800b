"""SqueezeNet (Iandola et al. 2016): AlexNet's accuracy with 50 times fewer parameters."""

from cnnir.frontends.dsl import (
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Normal,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
    concat,
)

POOL = 0

# The first convolution's filters and kernel size, then the filters of the squeezing layers, with poolings between.
LAYERS = {
    "1.0": ((96, 7), (POOL, 16, 16, 32, POOL, 32, 48, 48, 64, POOL, 64)),
    "1.1": ((64, 3), (POOL, 16, 16, POOL, 32, 32, POOL, 48, 48, 64, 64)),
}


@block
def fire(x: Tensor, squeezed: int) -> Tensor:
    """Squeezes the channels with a 1x1 convolution, then widens them to eight times as many, half of them by 1x1
    and half by 3x3 convolutions."""
    narrow = x >> Conv(squeezed, 1, name="squeeze") >> ReLU()
    return concat(
        narrow >> Conv(4 * squeezed, 1, name="expand1x1") >> ReLU(),
        narrow >> Conv(4 * squeezed, 3, padding=1, name="expand3x3") >> ReLU(),
    )


@architecture(
    family="squeezenet",
    input=(3, 224, 224),
    paper="Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model "
    "size, arXiv 1602.07360",
    labels="imagenet",
    variants={f"squeezenet{v.replace('.', '_')}": {"version": v} for v in LAYERS},
)
def squeezenet(image: Tensor, version: str, classes: int = 1000, head_padding: int = 0) -> Tensor:
    """SqueezeNet as in torchvision, poolings rounding up.

    The authors' Caffe model of version 1.0 takes 227x227 pixels and has `head_padding` 1.
    """
    (filters, kernel_size), rest = LAYERS[version]
    return (
        image
        >> Stack(
            "features",
            Conv(filters, kernel_size, stride=2), ReLU(),
            *(MaxPool(3, stride=2, ceil_mode=True) if n == POOL else fire(n) for n in rest),
        )
        >> Stack(
            "classifier",
            Dropout(0.5), Conv(classes, 1, padding=head_padding, init=Normal(0.01)), ReLU(), GlobalAvgPool(),
        )
        >> Flatten()
    )  # fmt: skip
