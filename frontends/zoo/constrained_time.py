"""He and Sun's networks at constrained time cost: layers replaced stage by stage, at the same complexity."""

from collections.abc import Mapping

from cnnir.errors import UnknownNameError
from cnnir.frontends.dsl import (
    AdaptiveMaxPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    HeNormal,
    MaxPool,
    ReLU,
    Tensor,
    architecture,
    block,
    concat,
    scope,
)

Layers = tuple[tuple[int, int], ...]
"""Kernel size and filters of a stage's convolutions."""

WIDE: Layers = ((5, 128),)
TWO_3: Layers = ((3, 128),) * 2
FOUR_2: Layers = ((2, 128),) * 4
NARROW: Layers = (*((3, 64),) * 3, (3, 128))
THREE_3: Layers = ((3, 256),) * 3
SIX_2: Layers = ((2, 256),) * 6

# Table 1 of the paper: stages 2, 3 and, in J, 4. The eight layers of 128 filters in G are what makes its complexity
# just that of A.
STAGES: Mapping[str, tuple[Layers, ...]] = {
    "a": (WIDE, THREE_3),
    "b": (WIDE, SIX_2),
    "c": (TWO_3, THREE_3),
    "d": (TWO_3, SIX_2),
    "e": (FOUR_2, SIX_2),
    "f": (WIDE, (*((3, 160),) * 5, (3, 256))),
    "g": (WIDE, (*((3, 128),) * 8, (3, 256))),
    "h": (NARROW, THREE_3),
    "i": (NARROW, SIX_2),
    "j": (FOUR_2, ((2, 256),) * 4, ((2, 2304), (2, 256))),
}
POOLS = (3, 2, 3)
"""Kernel size and stride of the pooling before stages 2, 3 and 4."""


@block
def pyramid(x: Tensor) -> Tensor:
    """Maxima over 6x6, 3x3, 2x2 and 1x1 bins, joined: the SPP head, which takes maps of any size."""
    return concat(*(x >> AdaptiveMaxPool(bins) >> Flatten() for bins in (6, 3, 2, 1)))


def padding(kernel: int, stride: int, smaller: bool) -> int:
    """Odd kernels keep the size. 2x2 ones take a pixel and give it back in turn: 18, 17, 18, 17, ..."""
    return kernel // 2 if kernel % 2 else int(smaller and stride == 1)


@architecture(
    family="constrained-time",
    input=(3, 224, 224),
    paper="He and Sun 2015, Convolutional Neural Networks at Constrained Time Cost, CVPR, arXiv 1412.1710",
    labels="imagenet",
    baseline="constrained_time_a",
    variants={
        **{f"constrained_time_{model}": {"model": model} for model in STAGES},
        **{f"constrained_time_{model}_delayed": {"model": model, "delayed": True} for model in "bdej"},
        **{f"constrained_time_d{extra}": {"model": "d", "extra": extra} for extra in range(1, 7)},
    },
)
def constrained_time(
    image: Tensor,
    model: str,
    delayed: bool = False,
    extra: int = 0,
    classes: int = 1000,
    hidden: int = 4096,
    dropout: float = 0.5,
) -> Tensor:
    """One of the models A to J; `delayed` for B', D', E' and J', `d1` to `d6` for D+1 to D+6.

    Delayed pooling (section 4.6) takes the maxima at stride 1 and leaves the stride to the next convolution.
    `extra` adds 2x2 convolutions of 256 filters at the end (section 4.4).
    """
    if model not in STAGES:
        raise UnknownNameError("model of the paper", model, STAGES)
    *stages, last = STAGES[model]
    stages.append((*last, *((2, 256),) * extra))

    def conv(filters: int, kernel: int, stride: int = 1, border: int = 0) -> Conv:
        return Conv(filters, kernel, stride, border, init=HeNormal())

    with scope("stage1"):
        x = image >> conv(64, 7, 2) >> ReLU()
    meant = x.size[0]  # pixels that the maps of a stage are meant to have
    for i, (pool, layers) in enumerate(zip(POOLS, stages, strict=False), 2):
        meant //= pool
        with scope(f"stage{i}"):
            x >>= MaxPool(pool, 1 if delayed else pool)
            stride = pool if delayed else 1
            for kernel, filters in layers:
                border = padding(kernel, stride, x.size[0] < meant)
                x = x >> conv(filters, kernel, stride, border) >> ReLU()
                stride = 1
    return (
        x
        >> pyramid().named("spp")
        >> Dense(hidden, name="fc1") >> ReLU() >> Dropout(dropout)
        >> Dense(hidden, name="fc2") >> ReLU() >> Dropout(dropout)
        >> Dense(classes, name="fc3")
    )  # fmt: skip
