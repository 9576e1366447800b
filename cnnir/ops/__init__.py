"""The operators, one family a file; importing this package registers them all."""

from cnnir.ir.registry import operator, operators
from cnnir.ops import (
    activation,
    conv,
    conv_transpose,
    dense,
    elementwise,
    layout,
    normalization,
    pool,
    quantize,
    reduce,
    shape,
    unpool,
)

__all__ = [
    "activation",
    "conv",
    "conv_transpose",
    "dense",
    "elementwise",
    "layout",
    "normalization",
    "operator",
    "operators",
    "pool",
    "quantize",
    "reduce",
    "shape",
    "unpool",
]
