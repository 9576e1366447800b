"""The language in which architectures are written.

Layers are values and `>>` pipes tensors through them; a layer object used twice shares its weights; stacks number
their layers, so that parameters are called as in PyTorch's state_dicts.
"""

from cnnir.frontends.dsl.adaptive import AdaptiveMaxPool
from cnnir.frontends.dsl.architecture import Architecture, ModelInfo, architecture
from cnnir.frontends.dsl.arguments import Padding, Size
from cnnir.frontends.dsl.builder import Call, scope
from cnnir.frontends.dsl.convolution import Conv, Dense, DepthwiseConv
from cnnir.frontends.dsl.functions import add, concat, select, squeeze_excite
from cnnir.frontends.dsl.init import (
    ONES,
    ZEROS,
    Constant,
    Fan,
    HeNormal,
    Initializer,
    Normal,
    TorchUniform,
    Uniform,
    XavierUniform,
)
from cnnir.frontends.dsl.layer import Block, Chain, Layer, Stack, block, repeat
from cnnir.frontends.dsl.place import shorthand
from cnnir.frontends.dsl.pointwise import (
    ELU,
    GELU,
    Abs,
    BatchNorm,
    Clip,
    Dropout,
    Flatten,
    HardSigmoid,
    HardSwish,
    Identity,
    LeakyReLU,
    LocalResponseNorm,
    Pad,
    PReLU,
    ReLU,
    ReLU6,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from cnnir.frontends.dsl.pooling import AdaptiveAvgPool, AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from cnnir.frontends.dsl.tensor import Pipe, Tensor
from cnnir.frontends.dsl.trace import Outputs, TrainingOnly, trace, training_only
from cnnir.frontends.dsl.upsample import Bilinear, ConvTranspose, max_pool_indices, max_unpool

__all__ = [
    "ELU",
    "GELU",
    "ONES",
    "ZEROS",
    "Abs",
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "Architecture",
    "AvgPool",
    "BatchNorm",
    "Bilinear",
    "Block",
    "Call",
    "Chain",
    "Clip",
    "Constant",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "Dropout",
    "Fan",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "HeNormal",
    "Identity",
    "Initializer",
    "Layer",
    "LeakyReLU",
    "LocalResponseNorm",
    "MaxPool",
    "ModelInfo",
    "Normal",
    "Outputs",
    "PReLU",
    "Pad",
    "Padding",
    "Pipe",
    "ReLU",
    "ReLU6",
    "Reshape",
    "SiLU",
    "Sigmoid",
    "Size",
    "Softmax",
    "Stack",
    "Tanh",
    "Tensor",
    "TorchUniform",
    "TrainingOnly",
    "Uniform",
    "XavierUniform",
    "add",
    "architecture",
    "block",
    "concat",
    "max_pool_indices",
    "max_unpool",
    "repeat",
    "scope",
    "select",
    "shorthand",
    "squeeze_excite",
    "trace",
    "training_only",
]
