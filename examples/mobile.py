"""A mobile network: depthwise and grouped convolutions, TensorFlow's padding, squeeze and excitation.

Teaches: `DepthwiseConv` convolves every channel by itself, `groups` splits them; padding "same" gives
ceil(size / stride) pixels as in TensorFlow, with the odd row or column at the end, so that a network trained there
gives the same numbers here; a block asks its input for its channels (`x.channels`); multiplication broadcasts,
which is all that squeeze and excitation needs (`squeeze_excite` of the language does the same).

    cnnir compile examples/mobile.py:mobile
"""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    HardSigmoid,
    HardSwish,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
)


@block
def weigh(x: Tensor, reduction: int = 4) -> Tensor:
    """Squeeze and excitation: a factor for each channel, from the means of all."""
    factors = x >> GlobalAvgPool() >> Conv(x.channels // reduction, 1) >> ReLU() >> Conv(x.channels, 1)
    return x * (factors >> HardSigmoid())


@block
def inverted(x: Tensor, filters: int, kernel_size: int, stride: int) -> Tensor:
    """Widens the image, convolves every channel by itself, weighs the channels and narrows again."""
    wide = x >> Conv(4 * x.channels, 1, groups=2, bias=False) >> BatchNorm() >> HardSwish()
    deep = wide >> DepthwiseConv(kernel_size, stride, "same", bias=False) >> BatchNorm() >> HardSwish()
    y = deep >> weigh() >> Conv(filters, 1, bias=False) >> BatchNorm()
    return x + y if x.shape == y.shape else y


@architecture(input=(3, 64, 64))
def mobile(image: Tensor, classes: int = 10) -> Tensor:
    """Inverted residuals for small images."""
    return (
        image
        >> Stack("stem", Conv(16, 3, 2, "same", bias=False), BatchNorm(), HardSwish())
        >> Stack("blocks", inverted(16, 3, 1), inverted(24, 5, 2), inverted(24, 3, 1), inverted(40, 5, 2))
        >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="classifier")
    )  # fmt: skip
