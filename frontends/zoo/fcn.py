"""Fully convolutional networks: VGG-16 as convolutions throughout, its coarse scores refined by finer ones."""

from cnnir.frontends.dsl import (
    ZEROS,
    Bilinear,
    Conv,
    ConvTranspose,
    Dropout,
    HeNormal,
    MaxPool,
    ReLU,
    Tensor,
    architecture,
)

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def conv(filters: int, kernel_size: int, name: str, padding: int = 0) -> Conv:
    return Conv(filters, kernel_size, padding=padding, init=HeNormal(), bias_init=ZEROS, name=name)


def score(x: Tensor, classes: int, name: str) -> Tensor:
    """Scores from a 1x1 convolution, which training begins at zero."""
    return x >> Conv(classes, 1, init=ZEROS, bias_init=ZEROS, name=name)


def upsample(x: Tensor, factor: int, name: str) -> Tensor:
    """Learned upsampling that begins as bilinear interpolation."""
    return x >> ConvTranspose(x.channels, 2 * factor, factor, bias=False, init=Bilinear(), name=name)


def crop(x: Tensor, offset: int, size: tuple[int, int]) -> Tensor:
    """Caffe's crop layer: what lies under an image of that size, `offset` pixels in."""
    return x[:, :, offset : offset + size[0], offset : offset + size[1]]


@architecture(
    family="fcn",
    input=(3, 500, 500),
    paper="Long et al. 2015, Fully Convolutional Networks for Semantic Segmentation, arXiv 1411.4038",
    labels="voc",
)
def fcn8s(image: Tensor, classes: int = 21, hidden: int = 4096, dropout: float = 0.5) -> Tensor:
    """FCN-8s as its authors' Caffe model has it, layer names too.

    The first convolution pads by 100, so that an image of any size leaves something for the 7x7 of fc6; poolings
    round up; scores of pool4 and pool3 are cropped to the upsampled ones by the offsets that follow.
    """
    x = image
    pools: list[Tensor] = []
    for i, stage in enumerate(STAGES, 1):
        for j, filters in enumerate(stage, 1):
            x = x >> conv(filters, 3, f"conv{i}_{j}", padding=100 if i == j == 1 else 1) >> ReLU()
        x >>= MaxPool(2, ceil_mode=True, name=f"pool{i}")
        pools.append(x)
    x = x >> conv(hidden, 7, "fc6") >> ReLU() >> Dropout(dropout)
    x = x >> conv(hidden, 1, "fc7") >> ReLU() >> Dropout(dropout)
    x = upsample(score(x, classes, "score_fr"), 2, "upscore2")
    x += crop(score(pools[3], classes, "score_pool4"), 5, x.size)
    x = upsample(x, 2, "upscore_pool4")
    x += crop(score(pools[2], classes, "score_pool3"), 9, x.size)
    return crop(upsample(x, 8, "upscore8"), 31, image.size)
