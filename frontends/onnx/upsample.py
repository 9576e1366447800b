"""Converters of what makes images larger: `ConvTranspose` and `MaxUnpool`."""

from __future__ import annotations

from collections.abc import Mapping

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.frontends.onnx.windows import need_image, pair_attr, window_ints
from cnnir.ops.conv_transpose import CONV_TRANSPOSE, ConvTransposeAttrs
from cnnir.ops.spatial import Pads, Pair
from cnnir.ops.unpool import MAX_UNPOOL, MaxUnpoolAttrs


def conv_transpose(call: Call) -> Result:
    x = call.value(0)
    weight = call.settled(1, "weight")
    bias = call.settled(2, "bias") if call.given(2) else None
    need_image(call, x.type)
    if weight.type.rank != 4:
        raise call.error(f"Expected a weight [C,O/groups,KH,KW] for 'ConvTranspose', got {weight.type}.")
    kernel = pair_attr(call, "kernel_shape", (weight.type.shape[2], weight.type.shape[3]))
    stride, dilation = pair_attr(call, "strides", (1, 1)), pair_attr(call, "dilations", (1, 1))
    extra = pair_attr(call, "output_padding", (0, 0))
    size = x.type.shape[2], x.type.shape[3]
    full = tuple((size[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 + extra[i] for i in (0, 1))
    pads = _pads(call, size, (full[0], full[1]), stride)
    attrs = ConvTransposeAttrs(kernel, stride, pads, extra, dilation, call.int_attr("group", 1))
    return call.emit(CONV_TRANSPOSE, attrs, x, weight, bias)


def _pads(call: Call, size: Pair, full: Pair, stride: Pair) -> Pads:
    """Attribute `pads`, or what `output_shape` or `auto_pad` come to (ONNX `ConvTranspose`: what is too much of the
    full result is cut off, the odd pixel at the end for SAME_UPPER, else at the beginning)."""
    mode = call.string_attr("auto_pad", "NOTSET")
    wanted = window_ints(call, "output_shape") if call.has("output_shape") else None
    if wanted is None and mode in ("NOTSET", "VALID"):
        pads = (window_ints(call, "pads") or (0, 0, 0, 0)) if mode == "NOTSET" else (0, 0, 0, 0)
        if len(pads) != 4:
            raise call.error(f"Attribute 'pads' of '{call.op}': expected four integers, got {list(pads)}.")
        return pads[0], pads[1], pads[2], pads[3]
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise call.error(
            f"Unknown auto_pad '{mode}' of '{call.op}'.", hints=["Known: NOTSET, VALID, SAME_UPPER, SAME_LOWER."]
        )
    # Some exporters write all the dimensions.
    target = (size[0] * stride[0], size[1] * stride[1]) if wanted is None else wanted[-2:]
    if len(target) != 2 or any(t > f for t, f in zip(target, full, strict=True)):
        raise call.error(f"'{call.op}' cannot give an output of {list(target)} pixels: it has {list(full)} in all.")
    before, after = [], []
    for all_pixels, kept in zip(full, target, strict=True):
        less, more = (all_pixels - kept) // 2, -(-(all_pixels - kept) // 2)
        before.append(less if mode == "SAME_UPPER" else more)
        after.append(more if mode == "SAME_UPPER" else less)
    return before[0], before[1], after[0], after[1]


def max_unpool(call: Call) -> Result:
    x, indices = call.value(0), call.value(1)
    need_image(call, x.type)
    if not call.has("kernel_shape"):
        raise call.error(f"'{call.op}' lacks its attribute 'kernel_shape'.")
    pads = window_ints(call, "pads") or (0, 0, 0, 0)
    if len(pads) != 4:
        raise call.error(f"Attribute 'pads' of '{call.op}': expected four integers, got {list(pads)}.")
    kernel, stride = pair_attr(call, "kernel_shape", (1, 1)), pair_attr(call, "strides", (1, 1))
    attrs = MaxUnpoolAttrs(kernel, stride, (pads[0], pads[1], pads[2], pads[3]))
    if call.given(2):
        # ONNX and its runtimes disagree about indices where this input changes the size of the image.
        asked = call.integers(2, "output shape")[-2:]
        size = attrs.output((x.type.shape[2], x.type.shape[3]))
        if asked != size:
            raise call.error(
                f"'MaxUnpool' to {list(asked)} pixels is not supported: its window gives {list(size)}.",
                hints=["Export the model with a kernel size that gives the size of the output."],
            )
    return call.emit(MAX_UNPOOL, attrs, x, indices)


CONVERTERS: Mapping[str, Converter] = {"ConvTranspose": conv_transpose, "MaxUnpool": max_unpool}
