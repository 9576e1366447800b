"""Converters of normalisation: `BatchNormalization`, `LRN`, `LayerNormalization`."""

from __future__ import annotations

from collections.abc import Mapping

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.ops.activation import SQRT, NoAttrs
from cnnir.ops.elementwise import ADD, DIV, MUL, SUB, BinaryAttrs
from cnnir.ops.normalization import BATCH_NORM, LRN, BatchNormAttrs, LrnAttrs
from cnnir.ops.reduce import REDUCE_MEAN, ReduceAttrs


def batch_norm(call: Call) -> Result:
    """Inference only. Before opset 14, asking for the updated statistics as outputs meant training."""
    if call.flag("training_mode"):
        raise call.error(
            "'BatchNormalization' is in training mode.",
            hints=["Export the model in evaluation mode (`model.eval()`)."],
        )
    if call.opset < 9 and not call.flag("spatial", True):
        raise call.error("'BatchNormalization' with statistics per pixel (spatial=0) is not supported.")
    call.no_more_outputs()
    statistics = [call.settled(i, name) for i, name in enumerate(("scale", "bias", "mean", "variance"), 1)]
    return call.emit(BATCH_NORM, BatchNormAttrs(call.float_attr("epsilon", 1e-5)), call.value(0), *statistics)


def lrn(call: Call) -> Result:
    attrs = LrnAttrs(
        size=call.int_attr("size", 0),
        alpha=call.float_attr("alpha", 1e-4),
        beta=call.float_attr("beta", 0.75),
        bias=call.float_attr("bias", 1.0),
    )
    return call.emit(LRN, attrs, call.value(0))


def layer_norm(call: Call) -> Result:
    """Spelt out as ONNX defines it (`LayerNormalization`, opset 17): mean, variance, scale, bias."""
    call.no_more_outputs()
    x = call.value(0)
    first = call.axis(call.int_attr("axis", -1), x.type.rank)
    over = ReduceAttrs(tuple(range(first, x.type.rank)))
    each = BinaryAttrs()
    mean = call.emit(REDUCE_MEAN, over, x, suffix="mean")
    centred = call.emit(SUB, each, x, mean, suffix="centred")
    square = call.emit(MUL, each, centred, centred, suffix="square")
    variance = call.emit(REDUCE_MEAN, over, square, suffix="variance")
    epsilon = call.number(call.float_attr("epsilon", 1e-5), x)
    deviation = call.emit(
        SQRT, NoAttrs(), call.emit(ADD, each, variance, epsilon, suffix="epsilon"), suffix="deviation"
    )
    normal = call.emit(DIV, each, centred, deviation, suffix="normal")
    scale = call.settled(1, "scale")
    if not call.given(2):
        return call.emit(MUL, each, normal, scale)
    return call.emit(ADD, each, call.emit(MUL, each, normal, scale, suffix="scale"), call.settled(2, "bias"))


CONVERTERS: Mapping[str, Converter] = {
    "BatchNormalization": batch_norm,
    "LRN": lrn,
    "LayerNormalization": layer_norm,
}
