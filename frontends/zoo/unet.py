"""U-Net: a path that contracts, one that expands, and crops of the former beside the latter at every size."""

from cnnir.frontends.dsl import (
    ZEROS,
    Conv,
    ConvTranspose,
    HeNormal,
    MaxPool,
    ReLU,
    Stack,
    Tensor,
    architecture,
    concat,
)


def double_conv(name: str, filters: int) -> Stack:
    """Two 3x3 convolutions without padding, each followed by ReLU: four rows and columns less."""

    def conv() -> Conv:
        return Conv(filters, 3, init=HeNormal(), bias_init=ZEROS)

    return Stack(name, conv(), ReLU(), conv(), ReLU())


def crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of an image."""
    top, left = ((have - want) // 2 for have, want in zip(x.size, size, strict=True))
    return x[:, :, top : top + size[0], left : left + size[1]]


@architecture(
    input=(1, 572, 572),
    paper="Ronneberger et al. 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation, "
    "arXiv 1505.04597",
    labels="cells",
)
def unet(image: Tensor, classes: int = 2, width: int = 64, depth: int = 4) -> Tensor:
    """U-Net: of 572x572 pixels it labels the 388x388 in the middle, for which it sees all that matters.

    `depth` poolings halve the image and double the channels, from `width` on. Sizes must stay even before each.
    """
    skips: list[Tensor] = []
    x = image
    for i in range(depth):
        x >>= double_conv(f"down{i + 1}", width << i)
        skips.append(x)
        x >>= MaxPool(2)
    x >>= double_conv("bottom", width << depth)
    for i, skip in reversed(list(enumerate(skips, 1))):
        x >>= ConvTranspose(width << i - 1, 2, stride=2, init=HeNormal(), bias_init=ZEROS, name=f"up{i}")
        x = concat(crop(skip, x.size), x) >> double_conv(f"decode{i}", width << i - 1)
    return x >> Conv(classes, 1, init=HeNormal(), bias_init=ZEROS, name="scores")
