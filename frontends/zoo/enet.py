"""ENet: segmentation in real time, by bottlenecks that early work on an eighth of the rows and columns."""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dropout,
    HeNormal,
    MaxPool,
    Pad,
    Pipe,
    PReLU,
    Stack,
    Tensor,
    architecture,
    block,
    concat,
    max_pool_indices,
    max_unpool,
    scope,
)

EPSILON = 1e-3


def conv(filters: int, kernel_size: int | tuple[int, int], stride: int = 1, dilation: int = 1) -> Conv:
    """A convolution without bias that keeps the size, or halves it with a 2x2 kernel."""
    rows, columns = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    padding = (rows // 2 * dilation, columns // 2 * dilation) if stride == 1 else 0
    return Conv(filters, kernel_size, stride, padding, dilation, bias=False, init=HeNormal())


def norm() -> BatchNorm:
    return BatchNorm(EPSILON)


def act() -> Pipe:
    """Batch normalisation, and PReLU with a slope a feature map (section 5.1, nonlinear operations)."""
    return norm() >> PReLU(per_channel=True)


def branch(filters: int, main: Pipe, dropout: float, stride: int = 1) -> Stack:
    """Section 4, figure 2b: a projection to a quarter of the channels, the main convolution, an expansion."""
    return Stack(
        "branch",
        conv(filters // 4, max(1, stride), stride), act(),
        main, act(),
        conv(filters, 1), norm(), Dropout(dropout),
    )  # fmt: skip


@block
def bottleneck(x: Tensor, kind: str, dropout: float, dilation: int = 1) -> Tensor:
    """A bottleneck beside the identity, regular, dilated or asymmetric (5x1 and 1x5)."""
    inner = x.channels // 4
    main: Pipe = conv(inner, (5, 1)) >> conv(inner, (1, 5)) if kind == "asymmetric" else conv(inner, 3, 1, dilation)
    return (x + (x >> branch(x.channels, main, dropout))) >> PReLU(per_channel=True, name="prelu")


def down(x: Tensor, name: str, filters: int, dropout: float) -> tuple[Tensor, Tensor]:
    """Half the size: the branch strides, beside it the maxima with channels of zeros; the maxima's indices too."""
    with scope(name):
        y = x >> branch(filters, conv(filters // 4, 3), dropout, stride=2)
        pooled, indices = max_pool_indices(x, 2)
        return (y + (pooled >> Pad(channels=(0, filters - x.channels)))) >> PReLU(
            per_channel=True, name="prelu"
        ), indices


def up(x: Tensor, name: str, filters: int, indices: Tensor, dropout: float) -> Tensor:
    """Twice the size: a transposed convolution, beside it what a 1x1 convolution leaves, unpooled."""
    with scope(name):
        main = ConvTranspose(filters // 4, 3, stride=2, padding=1, output_padding=1, bias=False, init=HeNormal())
        y = x >> branch(filters, main, dropout)
        skip = x >> Stack("skip", conv(filters, 1), norm())
        return (y + max_unpool(skip, indices, y.size)) >> PReLU(per_channel=True, name="prelu")


@architecture(
    input=(3, 512, 512),
    paper="Paszke et al. 2016, ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation, "
    "arXiv 1606.02147",
    labels="cityscapes",
)
def enet(image: Tensor, classes: int = 19) -> Tensor:
    """ENet as table 1 of the paper lists it; heights and widths are multiples of 8."""
    first = Conv(13, 3, stride=2, padding=1, bias=False, init=HeNormal(), name="initial.conv")
    x = concat(image >> first, image >> MaxPool(2)) >> Stack("initial.act", act())
    x, first_indices = down(x, "bottleneck1_0", 64, 0.01)
    for i in range(1, 5):
        x >>= bottleneck("regular", 0.01).named(f"bottleneck1_{i}")
    x, second_indices = down(x, "bottleneck2_0", 128, 0.1)
    for section in (2, 3):
        kinds = [("regular", 1), ("dilated", 2), ("asymmetric", 1), ("dilated", 4)]
        kinds += [("regular", 1), ("dilated", 8), ("asymmetric", 1), ("dilated", 16)]
        for i, (kind, dilation) in enumerate(kinds, 1 if section == 2 else 0):
            x >>= bottleneck(kind, 0.1, dilation).named(f"bottleneck{section}_{i}")
    x = up(x, "bottleneck4_0", 64, second_indices, 0.1)
    for i in (1, 2):
        x >>= bottleneck("regular", 0.1).named(f"bottleneck4_{i}")
    x = up(x, "bottleneck5_0", 16, first_indices, 0.1)
    x >>= bottleneck("regular", 0.1).named("bottleneck5_1")
    return x >> ConvTranspose(classes, 2, stride=2, init=HeNormal(), name="fullconv")
