"""What the x86 backend has: every operator with its layout rule and its lowering."""

from __future__ import annotations

from cnnir.backends.tvm.x86.kernels.formula import Combine
from cnnir.backends.tvm.x86.lowering import arrays, elementwise, layers, upsample
from cnnir.backends.tvm.x86.lowering.context import LayoutRule, Support, always
from cnnir.ir import Node
from cnnir.ir.registry import operators
from cnnir.ops.activation import UnaryOperator

_PLAIN = always(LayoutRule.PLAIN)
_BLOCKED = always(LayoutRule.BLOCKED)

_BINARY = {
    "Add": Combine.ADD,
    "Sub": Combine.SUB,
    "Mul": Combine.MUL,
    "Div": Combine.DIV,
    "Max": Combine.MAX,
    "Min": Combine.MIN,
    "Pow": Combine.POW,
    "PRelu": Combine.PRELU,
}

SUPPORT: dict[str, Support] = {
    "Conv": Support(_BLOCKED, layers.lower_conv),
    "ConvTranspose": Support(_BLOCKED, upsample.lower_conv_transpose),
    "MaxPoolIndices": Support(_BLOCKED, upsample.lower_pool_indices),
    "MaxUnpool": Support(_BLOCKED, upsample.lower_unpool),
    "Gemm": Support(_PLAIN, layers.lower_dense),
    "MaxPool": Support(_BLOCKED, layers.lower_pool),
    "AveragePool": Support(_BLOCKED, layers.lower_pool),
    "GlobalAveragePool": Support(_BLOCKED, layers.lower_global_pool),
    "GlobalMaxPool": Support(_BLOCKED, layers.lower_global_pool),
    "LRN": Support(_BLOCKED, layers.lower_lrn),
    "Softmax": Support(_PLAIN, layers.lower_softmax),
    "BatchNormalization": Support(elementwise.rule, elementwise.lower_batch_norm),
    "QuantizeLinear": Support(elementwise.rule, elementwise.lower_quantize),
    "DequantizeLinear": Support(elementwise.rule, elementwise.lower_dequantize),
    "Reorder": Support(_PLAIN, arrays.lower_reorder),
    "Identity": Support(arrays.follows_images, arrays.lower_view),
    "Dropout": Support(arrays.follows_images, arrays.lower_view),
    "Flatten": Support(_PLAIN, arrays.lower_view),
    "Reshape": Support(_PLAIN, arrays.lower_view),
    "Squeeze": Support(_PLAIN, arrays.lower_view),
    "Unsqueeze": Support(_PLAIN, arrays.lower_view),
    "Concat": Support(arrays.concat_rule, arrays.lower_concat),
    "Slice": Support(arrays.slice_rule, arrays.lower_slice),
    "Pad": Support(arrays.pad_rule, arrays.lower_pad),
    "Transpose": Support(_PLAIN, arrays.lower_transpose),
    "ReduceMean": Support(_PLAIN, arrays.lower_reduce),
    "ReduceSum": Support(_PLAIN, arrays.lower_reduce),
    "ReduceMax": Support(_PLAIN, arrays.lower_reduce),
    **{name: Support(elementwise.rule, elementwise.lower_binary(c)) for name, c in _BINARY.items()},
    **{
        o.name: Support(elementwise.rule, elementwise.lower_unary)
        for o in operators()
        if isinstance(o, UnaryOperator)
    },
}


def rule_of(node: Node) -> LayoutRule:
    """The order in which the node works; plain for operators that are not supported, which lowering refuses."""
    support = SUPPORT.get(node.op.name)
    return support.rule(node) if support else LayoutRule.PLAIN
