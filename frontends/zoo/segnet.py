"""SegNet: VGG-16's convolutions, and their mirror image, which unpools by the indices of the poolings."""

from cnnir.frontends.dsl import (
    ZEROS,
    BatchNorm,
    Conv,
    HeNormal,
    Pipe,
    ReLU,
    Stack,
    Tensor,
    architecture,
    max_pool_indices,
    max_unpool,
)

# Filters of the convolutions before each pooling: those of VGG-16.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def conv(filters: int) -> Pipe:
    """A 3x3 convolution that keeps the size, batch normalisation, ReLU."""
    return Conv(filters, 3, padding=1, init=HeNormal(), bias_init=ZEROS) >> BatchNorm() >> ReLU()


@architecture(
    input=(3, 360, 480),
    paper="Badrinarayanan et al. 2017, SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image "
    "Segmentation, arXiv 1511.00561",
    labels="camvid",
)
def segnet(image: Tensor, classes: int = 11) -> Tensor:
    """SegNet at the size of CamVid; where a pooling meets an odd number of rows it rounds up, as Caffe's does."""
    x = image
    poolings: list[tuple[Tensor, tuple[int, int]]] = []
    for i, stage in enumerate(STAGES, 1):
        x >>= Stack(f"encoder{i}", *(conv(filters) for filters in stage))
        size = x.size
        x, indices = max_pool_indices(x, 2, ceil_mode=True)
        poolings.append((indices, size))
    for i in range(len(STAGES), 0, -1):
        x = max_unpool(x, *poolings[i - 1])
        # The last convolution of a decoder has the channels that the next unpooling expects.
        inner, last = STAGES[i - 1][1:], STAGES[i - 2][-1] if i > 1 else classes
        end = conv(last) if i > 1 else Conv(classes, 3, padding=1, init=HeNormal(), bias_init=ZEROS)
        x >>= Stack(f"decoder{i}", *(conv(filters) for filters in inner), end)
    return x
