"""BN-Inception, also called Inception-v2: the network with which batch normalisation came."""

from cnnir.frontends.dsl import (
    AvgPool,
    BatchNorm,
    Chain,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    MaxPool,
    ReLU,
    Tensor,
    architecture,
    concat,
    shorthand,
)


@shorthand
def conv(name: str, filters: int, kernel_size: int = 1, stride: int = 1, bias: bool = False) -> Chain:
    """A convolution that keeps the size, a normalisation, a ReLU."""
    return Chain(
        Conv(filters, kernel_size, stride, kernel_size // 2, bias=bias, init=HeNormal(), name=name),
        BatchNorm(name=f"{name}_bn"),
        ReLU(),
    )


# The paper's figure 5: #1x1; #3x3 reduce and #3x3; double #3x3 reduce and double #3x3; pooling; pool proj.
MODULES: dict[str, tuple[int, tuple[int, int], tuple[int, int], str, int]] = {
    "3a": (64, (64, 64), (64, 96), "avg", 32),
    "3b": (64, (64, 96), (64, 96), "avg", 64),
    "3c": (0, (128, 160), (64, 96), "max", 0),
    "4a": (224, (64, 96), (96, 128), "avg", 128),
    "4b": (192, (96, 128), (96, 128), "avg", 128),
    "4c": (160, (128, 160), (128, 160), "avg", 96),
    "4d": (96, (128, 192), (160, 192), "avg", 96),
    "4e": (0, (128, 192), (192, 256), "max", 0),
    "5a": (352, (192, 320), (160, 224), "avg", 128),
    "5b": (352, (192, 320), (192, 224), "max", 128),
}


def inception(
    x: Tensor,
    name: str,
    one: int,
    three: tuple[int, int],
    double: tuple[int, int],
    pooling: str,
    proj: int,
    bias: bool,
) -> Tensor:
    """Branches of depth 1, 2, 3 and a pooled one. Modules without 1x1 filters halve the size: their convolutions
    stride, and their pooled branch passes as it is."""
    name, stride = f"inception_{name}", 1 if one else 2
    branches = [x >> conv(f"{name}_1x1", one, bias=bias)] if one else []
    branches.append(
        x >> conv(f"{name}_3x3_reduce", three[0], bias=bias) >> conv(f"{name}_3x3", three[1], 3, stride, bias=bias)
    )
    branches.append(
        x
        >> conv(f"{name}_double_3x3_reduce", double[0], bias=bias)
        >> conv(f"{name}_double_3x3_1", double[1], 3, bias=bias)
        >> conv(f"{name}_double_3x3_2", double[1], 3, stride, bias=bias)
    )
    if one:
        pool = AvgPool(3, 1, padding=1) if pooling == "avg" else MaxPool(3, 1, padding=1)
        branches.append(x >> pool >> conv(f"{name}_pool_proj", proj, bias=bias))
    else:
        branches.append(x >> MaxPool(3, 2, ceil_mode=True))
    return concat(*branches)


@architecture(
    family="inception_v2",
    input=(3, 224, 224),
    paper="Ioffe and Szegedy 2015, Batch Normalization: Accelerating Deep Network Training by Reducing Internal "
    "Covariate Shift, arXiv 1502.03167",
    labels="imagenet",
    variants={
        "inception_v2": {},
        "bn_inception": {"late_proj": 128, "bias": True},
    },
)
def inception_v2(image: Tensor, late_proj: int | None = None, bias: bool = False, classes: int = 1000) -> Tensor:
    """BN-Inception: `inception_v2` as the paper has it, `bn_inception` as in the PyTorch weights in circulation.

    Those have `late_proj` filters after the pooling of 4c and 4d, and a `bias` in every convolution, which the
    normalisation after it makes superfluous. Names are those of Caffe's layers, with `_` for `/`.
    """
    x = image >> conv("conv1_7x7_s2", 64, 7, 2, bias=bias) >> MaxPool(3, 2, ceil_mode=True)
    x = x >> conv("conv2_3x3_reduce", 64, bias=bias) >> conv("conv2_3x3", 192, 3, bias=bias)
    x >>= MaxPool(3, 2, ceil_mode=True)
    for name, (one, three, double, pooling, proj) in MODULES.items():
        if late_proj is not None and name in ("4c", "4d"):
            proj = late_proj
        x = inception(x, name, one, three, double, pooling, proj, bias)
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="last_linear")
