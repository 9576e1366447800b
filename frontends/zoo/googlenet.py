"""GoogLeNet, the first Inception network: with batch normalisation as in torchvision, and as the paper has it."""

from cnnir.frontends.dsl import (
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    Chain,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    LocalResponseNorm,
    MaxPool,
    Outputs,
    ReLU,
    Size,
    Stack,
    Tensor,
    architecture,
    block,
    concat,
    scope,
    shorthand,
    training_only,
)

PAPER = "Szegedy et al. 2015, Going Deeper with Convolutions, arXiv 1409.4842"

# Table 1 of the paper: #1x1; #3x3 reduce and #3x3; #5x5 reduce and #5x5; pool proj.
MODULES = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}


@block
def conv_bn_relu(x: Tensor, filters: int, kernel_size: Size, stride: Size = 1, padding: Size = 0) -> Tensor:
    """A convolution normalised as Google's networks are: no bias, epsilon 0.001, a ReLU."""
    return (
        x
        >> Conv(filters, kernel_size, stride, padding, bias=False, init=HeNormal(), name="conv")
        >> BatchNorm(epsilon=1e-3, name="bn")
        >> ReLU()
    )


@block
def inception(x: Tensor, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> Tensor:
    """Four branches, figure 2(b), with 3x3 where the paper has 5x5: torchvision keeps this slip of a port."""
    return concat(
        x >> conv_bn_relu(one, 1).named("branch1"),
        x >> Stack("branch2", conv_bn_relu(three[0], 1), conv_bn_relu(three[1], 3, padding=1)),
        x >> Stack("branch3", conv_bn_relu(five[0], 1), conv_bn_relu(five[1], 3, padding=1)),
        x >> Stack("branch4", MaxPool(3, 1, padding=1), conv_bn_relu(pool, 1)),
    )


@block
def auxiliary(x: Tensor, classes: int) -> Tensor:
    """A classifier halfway, which brings gradients to the lower layers in training."""
    return (
        x
        >> AdaptiveAvgPool(4) >> conv_bn_relu(128, 1).named("conv") >> Flatten()
        >> Dense(1024, name="fc1") >> ReLU() >> Dropout(0.7) >> Dense(classes, name="fc2")
    )  # fmt: skip


@architecture(family="googlenet", input=(3, 224, 224), paper=PAPER, labels="imagenet")
def googlenet(image: Tensor, classes: int = 1000, dropout: float = 0.2) -> Outputs:
    """GoogLeNet with batch normalisation, as in torchvision; two auxiliary heads in training."""

    def module(x: Tensor, name: str) -> Tensor:
        return x >> inception(*MODULES[name]).named(f"inception{name}")

    x = image >> conv_bn_relu(64, 7, 2, 3).named("conv1") >> MaxPool(3, 2, ceil_mode=True)
    x = x >> conv_bn_relu(64, 1).named("conv2") >> conv_bn_relu(192, 3, padding=1).named("conv3")
    x = module(module(x >> MaxPool(3, 2, ceil_mode=True), "3a"), "3b")
    lower = module(x >> MaxPool(3, 2, ceil_mode=True), "4a")
    upper = module(module(module(lower, "4b"), "4c"), "4d")
    x = module(upper, "4e") >> MaxPool(2, 2, ceil_mode=True)
    x = module(module(x, "5a"), "5b")
    return {
        "logits": x >> GlobalAvgPool() >> Flatten() >> Dropout(dropout) >> Dense(classes, name="fc"),
        "aux2": training_only(lambda: upper >> auxiliary(classes).named("aux2")),
        "aux1": training_only(lambda: lower >> auxiliary(classes).named("aux1")),
    }


@shorthand
def conv_relu(name: str, filters: int, kernel_size: int, stride: int = 1) -> Chain:
    """A convolution with a bias that keeps the size, and a ReLU."""
    padding = kernel_size // 2
    return Conv(filters, kernel_size, stride, padding, init=HeNormal(), name=name) >> ReLU()


@block
def inception_2014(x: Tensor, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> Tensor:
    """Four branches, figure 2(b) of the paper."""
    return concat(
        x >> conv_relu("1x1", one, 1),
        x >> conv_relu("3x3_reduce", three[0], 1) >> conv_relu("3x3", three[1], 3),
        x >> conv_relu("5x5_reduce", five[0], 1) >> conv_relu("5x5", five[1], 5),
        x >> MaxPool(3, 1, padding=1) >> conv_relu("pool_proj", pool, 1),
    )


@block
def auxiliary_2014(x: Tensor, classes: int) -> Tensor:
    """Section 5: 5x5 average pooling of stride 3, 128 1x1 filters, 1024 units, 70% dropout."""
    return (
        x
        >> AvgPool(5, 3) >> conv_relu("conv", 128, 1) >> Flatten()
        >> Dense(1024, name="fc") >> ReLU() >> Dropout(0.7) >> Dense(classes, name="classifier")
    )  # fmt: skip


@architecture(family="googlenet", input=(3, 224, 224), paper=PAPER, labels="imagenet")
def googlenet_2014(image: Tensor, classes: int = 1000, dropout: float = 0.4) -> Outputs:
    """GoogLeNet as the paper has it: 5x5 branches, biases, local response normalisation; Caffe's layer names."""

    def module(x: Tensor, name: str) -> Tensor:
        return x >> inception_2014(*MODULES[name]).named(f"inception_{name}")

    with scope("conv1"):
        x = image >> conv_relu("7x7_s2", 64, 7, 2) >> MaxPool(3, 2, ceil_mode=True) >> LocalResponseNorm(5)
    with scope("conv2"):
        x = x >> conv_relu("3x3_reduce", 64, 1) >> conv_relu("3x3", 192, 3) >> LocalResponseNorm(5)
    x = module(module(x >> MaxPool(3, 2, ceil_mode=True), "3a"), "3b")
    lower = module(x >> MaxPool(3, 2, ceil_mode=True), "4a")
    upper = module(module(module(lower, "4b"), "4c"), "4d")
    x = module(upper, "4e") >> MaxPool(3, 2, ceil_mode=True)
    x = module(module(x, "5a"), "5b")
    return {
        "logits": x >> GlobalAvgPool() >> Flatten() >> Dropout(dropout) >> Dense(classes, name="loss3.classifier"),
        "aux2": training_only(lambda: upper >> auxiliary_2014(classes).named("loss2")),
        "aux1": training_only(lambda: lower >> auxiliary_2014(classes).named("loss1")),
    }
