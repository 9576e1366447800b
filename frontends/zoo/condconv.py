"""Conditionally parameterised convolutions: every image is convolved with its own mixture of expert kernels."""

from cnnir.frontends.dsl import (
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Fan,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Sigmoid,
    SiLU,
    Tensor,
    architecture,
    block,
    concat,
    scope,
)
from cnnir.frontends.dsl.init import Initializer
from cnnir.ir import Array
