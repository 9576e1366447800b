"""DenseNet: every layer reads the outputs of all before it in its block."""

from cnnir.frontends.dsl import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    MaxPool,
    ReLU,
    Tensor,
    architecture,
    block,
    concat,
    scope,
)


@block
def dense_layer(x: Tensor, growth: int, bottleneck: int) -> Tensor:
    """Normalise, rectify, convolve: 1x1 to a few times the growth, then 3x3 to the growth (DenseNet-B)."""
    return (
        x
        >> BatchNorm(name="norm1") >> ReLU()
        >> Conv(bottleneck * growth, 1, bias=False, init=HeNormal(), name="conv1")
        >> BatchNorm(name="norm2") >> ReLU()
        >> Conv(growth, 3, padding=1, bias=False, init=HeNormal(), name="conv2")
    )  # fmt: skip


@block
def dense_block(x: Tensor, layers: int, growth: int, bottleneck: int) -> Tensor:
    """Each layer adds `growth` channels to what all later ones see."""
    for i in range(1, layers + 1):
        x = concat(x, x >> dense_layer(growth, bottleneck).named(f"denselayer{i}"))
    return x


@block
def transition(x: Tensor) -> Tensor:
    """Half the channels (DenseNet-C) on a grid of half the size."""
    return (
        x
        >> BatchNorm(name="norm") >> ReLU()
        >> Conv(x.channels // 2, 1, bias=False, init=HeNormal(), name="conv") >> AvgPool(2, 2)
    )  # fmt: skip


@architecture(
    family="densenet",
    input=(3, 224, 224),
    paper="Huang et al. 2017, Densely Connected Convolutional Networks, arXiv 1608.06993",
    labels="imagenet",
    variants={
        "densenet121": {"layers": (6, 12, 24, 16)},
        "densenet161": {"layers": (6, 12, 36, 24), "growth": 48, "stem": 96},
        "densenet169": {"layers": (6, 12, 32, 32)},
        "densenet201": {"layers": (6, 12, 48, 32)},
    },
)
def densenet(
    image: Tensor,
    layers: tuple[int, ...],
    growth: int = 32,
    stem: int = 64,
    bottleneck: int = 4,
    classes: int = 1000,
) -> Tensor:
    """DenseNet-BC for ImageNet, as in torchvision."""
    with scope("features"):
        x = (
            image
            >> Conv(stem, 7, 2, 3, bias=False, init=HeNormal(), name="conv0") >> BatchNorm(name="norm0") >> ReLU()
            >> MaxPool(3, 2, padding=1)
        )  # fmt: skip
        for i, n in enumerate(layers, 1):
            x >>= dense_block(n, growth, bottleneck).named(f"denseblock{i}")
            if i < len(layers):
                x >>= transition().named(f"transition{i}")
        x = x >> BatchNorm(name="norm5") >> ReLU()
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="classifier")
