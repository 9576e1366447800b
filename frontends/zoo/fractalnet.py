"""FractalNet: depth by self-similar expansion, without residual connections."""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    HeNormal,
    MaxPool,
    ReLU,
    Tensor,
    add,
    architecture,
    block,
)


@block
def conv(x: Tensor, filters: int, kernel_size: int, dropout: float) -> Tensor:
    """A convolution that keeps the size, a normalisation, a ReLU."""
    return (
        x
        >> Conv(filters, kernel_size, padding=kernel_size // 2, bias=False, init=HeNormal(), name="conv")
        >> BatchNorm(name="bn")
        >> ReLU()
        >> Dropout(dropout)
    )


def join(columns: list[Tensor]) -> Tensor:
    """The mean. Training drops some of its inputs (drop-path, section 3); inference has them all."""
    return columns[0] if len(columns) == 1 else add(*columns) / len(columns)


def fractal(x: Tensor, columns: int, filters: int, dropout: float) -> list[Tensor]:
    """The outputs of all columns, before the join: one convolution beside two fractals of one column less.

    The expansion rule of section 2; joins that would follow one another directly are one, as in figure 1.
    """
    shallow = [x >> conv(filters, 3, dropout)]
    if columns == 1:
        return shallow
    halfway = join(fractal(x, columns - 1, filters, dropout))
    return shallow + fractal(halfway, columns - 1, filters, dropout)


@block
def fractal_block(x: Tensor, columns: int, filters: int, dropout: float, expand: bool) -> Tensor:
    """A fractal and a halving of the grid. Channels grow in the first convolution of every column, or (`expand`)
    in a 1x1 convolution before all of them."""
    if expand and x.channels != filters:
        x = x >> conv(filters, 1, dropout).named("expand")
    return join(fractal(x, columns, filters, dropout)) >> MaxPool(2)


@architecture(
    family="fractalnet",
    input=(3, 32, 32),
    paper="Larsson et al. 2017, FractalNet: Ultra-Deep Neural Networks without Residuals, arXiv 1605.07648",
    labels="cifar10",
    variants={
        "fractalnet20": {"columns": 3},
        "fractalnet20_expand": {"columns": 3, "expand": True},
        "fractalnet40": {"columns": 4},
    },
)
def fractalnet(
    image: Tensor,
    columns: int,
    expand: bool = False,
    channels: tuple[int, ...] = (64, 128, 256, 512, 512),
    dropout: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4),
    classes: int = 10,
) -> Tensor:
    """FractalNet for CIFAR (section 4.1): five blocks, `2 ** (columns - 1)` convolutions deep each.

    The paper does not say where the channels grow. It counts 38.6 million parameters for 20 layers, which is what
    `expand` gives; without it there are 33.7 million, as in other implementations of the paper.
    """
    x = image
    for i, (filters, ratio) in enumerate(zip(channels, dropout, strict=True), 1):
        x >>= fractal_block(columns, filters, ratio, expand).named(f"block{i}")
    return x >> Flatten() >> Dense(classes, name="output")
