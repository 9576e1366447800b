"""A residual network: a block of one's own, stacks that name their layers, repetition, and variants as data.

Teaches: `@block` makes a function a layer with a scope of its own; inside it, tensors are ordinary values that one
adds or keeps for later. `Stack` numbers its layers, so that parameters are called as in PyTorch's state_dicts:
`layer1.0.conv1.weight`. `repeat` makes new layers each time. `variants` gives several networks one function.

    cnnir compile examples/resblocks.py:resblocks14
"""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
    repeat,
    shorthand,
)


@shorthand  # errors and `cnnir show` then point at the line that uses it
def conv(filters: int, kernel_size: int, stride: int, name: str) -> Conv:
    """A convolution without a bias, which the normalisation after it would cancel."""
    return Conv(filters, kernel_size, stride, kernel_size // 2, bias=False, init=HeNormal(), name=name)


@block
def residual(x: Tensor, filters: int, stride: int = 1) -> Tensor:
    """Two convolutions, added to their input; a 1x1 convolution brings that to the same shape where need be."""
    y = x >> conv(filters, 3, stride, "conv1") >> BatchNorm(name="bn1") >> ReLU()
    y = y >> conv(filters, 3, 1, "conv2") >> BatchNorm(name="bn2")
    if x.shape != y.shape:
        x >>= Stack("shortcut", conv(filters, 1, stride, "0"), BatchNorm())
    return (x + y) >> ReLU()


@architecture(input=(3, 32, 32), labels="cifar10", variants={"resblocks8": {"n": 1}, "resblocks14": {"n": 2}})
def resblocks(image: Tensor, n: int, classes: int = 10) -> Tensor:
    """Three stages of `n` residual blocks."""
    x = image >> conv(16, 3, 1, "conv1") >> BatchNorm(name="bn1") >> ReLU()
    for i, filters in enumerate((16, 32, 64)):
        first = residual(filters, stride=1 if i == 0 else 2)
        x >>= Stack(f"layer{i + 1}", first, repeat(n - 1, residual, filters))
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="fc")
