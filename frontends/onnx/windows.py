"""Converters of sliding windows: `Conv`, the pools and the global pools."""

from __future__ import annotations

from collections.abc import Mapping

from cnnir.frontends.onnx.context import Call, Converter, Result
from cnnir.ir import TensorType
from cnnir.ops.activation import NoAttrs
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.pool import AVERAGE_POOL, GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL, MAX_POOL, AveragePoolAttrs, PoolAttrs
from cnnir.ops.spatial import Pads, Pair
from cnnir.ops.unpool import MAX_POOL_INDICES

LARGEST = 1 << 12
"""The largest kernel, stride, dilation and pad: beyond is a damaged file, not a network."""


def window_ints(call: Call, name: str) -> tuple[int, ...] | None:
    """A list of integers, none of them absurd."""
    values = call.ints_attr(name)
    if values is not None and max(values, default=0) > LARGEST:
        raise call.error(f"Attribute '{name}' of '{call.op}': expected at most {LARGEST}, got {list(values)}.")
    return values


def pair_attr(call: Call, name: str, default: Pair) -> Pair:
    """An attribute of two integers, height and width."""
    values = window_ints(call, name)
    if values is None:
        return default
    if len(values) != 2:
        raise call.error(f"Attribute '{name}' of '{call.op}': expected two integers, got {list(values)}.")
    return values[0], values[1]


def need_image(call: Call, x: TensorType) -> TensorType:
    """Refuses signals and volumes."""
    if x.rank != 4:
        kind = {3: "1-D", 5: "3-D"}.get(x.rank)
        raise call.error(
            f"{kind} '{call.op}' is not supported: expected images [N,C,H,W], got {x}."
            if kind
            else f"'{call.op}' expects images [N,C,H,W], got {x}."
        )
    return x


def _pads(call: Call, x: TensorType, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
    """Attribute `pads`, or what `auto_pad` comes to at this image size (ONNX `Conv`: the output has size
    `ceil(input / stride)`; an odd pad goes to the end for SAME_UPPER, to the beginning for SAME_LOWER)."""
    mode = call.string_attr("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = window_ints(call, "pads") or (0, 0, 0, 0)
        if len(pads) != 4:
            raise call.error(f"Attribute 'pads' of '{call.op}': expected four integers, got {list(pads)}.")
        return pads[0], pads[1], pads[2], pads[3]
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.error(
            f"Unknown auto_pad '{mode}' of '{call.op}'.", hints=["Known: NOTSET, VALID, SAME_UPPER, SAME_LOWER."]
        )
    if min(stride) < 1:
        raise call.error(f"Attribute 'strides' of '{call.op}': expected positive integers, got {list(stride)}.")
    begins, ends = [], []
    for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        less, more = total // 2, total - total // 2
        begins.append(less if mode == "SAME_UPPER" else more)
        ends.append(more if mode == "SAME_UPPER" else less)
    return begins[0], begins[1], ends[0], ends[1]


def conv(call: Call) -> Result:
    x = call.value(0)
    weight = call.settled(1, "weight")
    bias = call.settled(2, "bias") if call.given(2) else None
    need_image(call, x.type)
    if weight.type.rank != 4:
        raise call.error(f"Expected a weight [O,C/groups,KH,KW] for 'Conv', got {weight.type}.")
    kernel = pair_attr(call, "kernel_shape", (weight.type.shape[2], weight.type.shape[3]))
    stride, dilation = pair_attr(call, "strides", (1, 1)), pair_attr(call, "dilations", (1, 1))
    pads = _pads(call, x.type, kernel, stride, dilation)
    attrs = ConvAttrs(kernel, stride, pads, dilation, groups=call.int_attr("group", 1))
    return call.emit(CONV, attrs, x, weight, bias, None)


def pool_window(call: Call) -> tuple[Pair, Pair, Pads, Pair, bool]:
    """Kernel, stride, pads, dilation and ceil mode of `MaxPool` and `AveragePool`."""
    x = need_image(call, call.value(0).type)
    if not call.has("kernel_shape"):
        raise call.error(f"'{call.op}' lacks its attribute 'kernel_shape'.")
    kernel = pair_attr(call, "kernel_shape", (1, 1))
    stride, dilation = pair_attr(call, "strides", (1, 1)), pair_attr(call, "dilations", (1, 1))
    return kernel, stride, _pads(call, x, kernel, stride, dilation), dilation, call.flag("ceil_mode")


def max_pool(call: Call) -> Result:
    if len(call.outputs) > 1 and call.context.reads[call.outputs[1]]:
        if call.int_attr("storage_order", 0):
            raise call.error("Indices of 'MaxPool' in column-major order (storage_order = 1) are not supported.")
        return call.emit_several(MAX_POOL_INDICES, PoolAttrs(*pool_window(call)), call.value(0))
    return call.emit(MAX_POOL, PoolAttrs(*pool_window(call)), call.value(0))


def average_pool(call: Call) -> Result:
    attrs = AveragePoolAttrs(*pool_window(call), count_include_pad=call.flag("count_include_pad"))
    return call.emit(AVERAGE_POOL, attrs, call.value(0))


def global_average_pool(call: Call) -> Result:
    need_image(call, call.value(0).type)
    return call.emit(GLOBAL_AVERAGE_POOL, NoAttrs(), call.value(0))


def global_max_pool(call: Call) -> Result:
    need_image(call, call.value(0).type)
    return call.emit(GLOBAL_MAX_POOL, NoAttrs(), call.value(0))


CONVERTERS: Mapping[str, Converter] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
}
