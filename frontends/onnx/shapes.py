"""Converters of what moves elements: reshaping, slicing, joining, padding; and of the identities."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx

from cnnir.frontends.onnx.batch import BatchSize
from cnnir.frontends.onnx.context import Call, Converter, Result, axes_of
from cnnir.frontends.onnx.fold import known_of, slice_parameters
from cnnir.ir import Value
from cnnir.ops.activation import NoAttrs
from cnnir.ops.shape import (
    CONCAT,
    DROPOUT,
    FLATTEN,
    IDENTITY,
    PAD,
    RESHAPE,
    SLICE,
    SQUEEZE,
    TRANSPOSE,
    UNSQUEEZE,
    AxesAttrs,
    ConcatAttrs,
    DropoutAttrs,
    FlattenAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    TransposeAttrs,
)

END = 2**31 - 1
"""From here on, the end of a slice means "to the last element": exporters write the largest int32 or int64."""


def identity(call: Call) -> Result:
    return call.emit(IDENTITY, NoAttrs(), call.value(0))


def dropout(call: Call) -> Result:
    """At inference the identity; the ratio is an attribute before opset 12, an input since."""
    call.no_more_outputs()
    if call.opset < 12:
        ratio = call.float_attr("ratio", 0.5)
    else:
        ratio = call.scalar(1, "ratio") if call.given(1) else 0.5
        if call.given(2) and call.scalar(2, "training mode"):
            raise call.error(
                "'Dropout' is in training mode.", hints=["Export the model in evaluation mode (`model.eval()`)."]
            )
    return call.emit(DROPOUT, DropoutAttrs(ratio), call.value(0))


def cast(call: Call) -> Result:
    x, to = call.value(0), call.int_attr("to", 0)
    if to != onnx.helper.np_dtype_to_tensor_dtype(x.type.dtype.numpy):
        known = {number: name for name, number in onnx.TensorProto.DataType.items()}
        raise call.error(
            f"'Cast' of the computed tensor {x.type} to {known.get(to, to)} is not supported; only of constants."
        )
    return call.emit(IDENTITY, NoAttrs(), x)


def flatten(call: Call) -> Result:
    return call.emit(FLATTEN, FlattenAttrs(call.int_attr("axis", 1)), call.value(0))


def reshape(call: Call) -> Result:
    """To a shape known now, in which the batch size may occur; see `target_shape`."""
    x = call.value(0)
    return call.emit(RESHAPE, ReshapeAttrs(target_shape(call, x, known_of(call, 1).reshape(-1).tolist())), x)


def target_shape(call: Call, x: Value, wanted: list[int | BatchSize]) -> tuple[int, ...]:
    """The target with every size worked out; 0 on axis 0 stands for the unknown batch size.

    An exporter that traced one image may have written the batch as -1, 0, `Shape(x)[0]`, or left -1 for another
    axis. What would mix the batch with another axis is refused.
    """
    source = list(x.type.shape)
    symbolic = not x.type.is_static
    dims: list[int] = []
    for i, d in enumerate(wanted):
        if isinstance(d, BatchSize):
            if i or d != BatchSize() or not symbolic:
                raise _mixes(call, x, wanted)
            dims.append(0)
        elif d == 0 and not call.flag("allowzero"):
            if i >= len(source):
                raise call.error(f"'Reshape' copies dimension {i}, which {x.type} does not have.")
            if symbolic and i == 0:
                dims.append(0)
            elif symbolic and source[i] < 0:
                raise _mixes(call, x, wanted)
            else:
                dims.append(source[i])
        elif d < -1 or d == 0:
            raise call.error(f"'Reshape' of {x.type} to {wanted} is not supported.")
        else:
            dims.append(d)
    if dims.count(-1) > 1:
        raise call.error(f"'Reshape' to {wanted} leaves more than one dimension open.")
    if not symbolic:
        return _fill(call, x, wanted, dims, math.prod(source))
    rest = math.prod(source[1:])
    if dims and dims[0] == -1 and math.prod(dims[1:]) == rest:
        dims[0] = 0
    if not dims or dims[0] != 0:
        raise _mixes(call, x, wanted)
    return (0, *_fill(call, x, wanted, dims[1:], rest))


def _fill(call: Call, x: Value, wanted: list[int | BatchSize], dims: list[int], total: int) -> tuple[int, ...]:
    """`dims` with -1 replaced by what is left of `total` elements."""
    known = math.prod(d for d in dims if d != -1)
    if -1 in dims and known and total % known == 0:
        dims = [total // known if d == -1 else d for d in dims]
    if math.prod(dims) != total:
        raise call.error(f"'Reshape' of {x.type} to {wanted} does not keep the number of elements.")
    return tuple(dims)


def _mixes(call: Call, x: Value, wanted: list[int | BatchSize]) -> Exception:
    text = ",".join("N" if d == BatchSize() else "N*.." if isinstance(d, BatchSize) else str(d) for d in wanted)
    return call.error(
        f"'Reshape' of {x.type} to [{text}] would mix the unknown batch size N with other dimensions.",
        hints=["Export the model with a fixed batch size, or keep the batch as the first dimension."],
    )


def transpose(call: Call) -> Result:
    x = call.value(0)
    perm = call.ints_attr("perm")
    return call.emit(TRANSPOSE, TransposeAttrs(tuple(reversed(range(x.type.rank))) if perm is None else perm), x)


def concat(call: Call) -> Result:
    values = [call.value(i) for i in range(len(call.inputs))]
    if not call.has("axis"):
        raise call.error("'Concat' lacks its attribute 'axis'.")
    return call.emit(CONCAT, ConcatAttrs(call.axis(call.int_attr("axis", 1), values[0].type.rank)), *values)


def slice_(call: Call) -> Result:
    """Entries that take the whole of an axis are dropped: they are the only ones an unknown batch size allows."""
    x = call.value(0)
    cuts = [
        (axis, start, end, step)
        for axis, start, end, step in slice_parameters(call, x.type.rank)
        if not (start == 0 and step == 1 and end >= END)
    ]
    if not cuts:
        return call.emit(IDENTITY, NoAttrs(), x)
    axes, starts, ends, steps = zip(*cuts, strict=True)
    return call.emit(SLICE, SliceAttrs(axes, starts, ends, steps), x)


def split(call: Call) -> Result:
    """One slice an output. The sizes are an attribute before opset 13, an input since; none means equal parts."""
    x = call.value(0)
    axis = call.axis(call.int_attr("axis", 0), x.type.rank)
    size, parts = x.type.shape[axis], len(call.outputs)
    if size < 0:
        raise call.error(f"'Split' of {x.type} along the unknown batch size is not supported.")
    sizes = call.ints_attr("split") if call.opset < 13 else None
    if call.opset >= 13 and call.given(1):
        sizes = call.integers(1, "split")
    if sizes is None:
        chunk = -(-size // parts)
        sizes = tuple(min(chunk, size - chunk * i) for i in range(parts))
    if len(sizes) != parts or sum(sizes) != size or min(sizes) < 1:
        raise call.error(f"'Split' of axis {axis} of {x.type} into {list(sizes)} for {parts} outputs does not fit.")
    results = []
    start = 0
    for i, length in enumerate(sizes):
        attrs = SliceAttrs((axis,), (start,), (start + length,), (1,))
        results.append(call.emit(SLICE, attrs, x, suffix=str(i)))
        start += length
    return results


def gather(call: Call) -> Result:
    """`Gather` of one constant index: a slice, with the axis dropped where the index is a scalar."""
    x = call.value(0)
    axis = call.axis(call.int_attr("axis", 0), x.type.rank)
    indices = call.array(1, "indices")
    if indices.size != 1 or indices.dtype.kind not in "iu":
        raise call.error("'Gather' from a computed tensor is supported for one index only.")
    i = int(indices.reshape(-1)[0])
    size = x.type.shape[axis]
    if size >= 0 and not -size <= i < size:
        raise call.error(f"'Gather' takes index {i} of axis {axis} of {x.type}.")
    attrs = SliceAttrs((axis,), (i,), (i + 1 if i != -1 else END,), (1,))
    if indices.ndim == 1:
        return call.emit(SLICE, attrs, x)
    if indices.ndim > 1:
        raise call.error("'Gather' from a computed tensor is supported for one index only.")
    return call.emit(SQUEEZE, AxesAttrs((axis,)), call.emit(SLICE, attrs, x, suffix="slice"))


def pad(call: Call) -> Result:
    """Constant padding. Pads are attributes before opset 11, inputs since; they may name axes since opset 18."""
    x = call.value(0)
    mode = call.string_attr("mode", "constant")
    if mode != "constant":
        raise call.error(f"'Pad' in mode '{mode}' is not supported; mode 'constant' is.")
    rank = x.type.rank
    value = 0.0
    if call.opset < 11:
        pads, value = call.ints_attr("pads"), call.float_attr("value", 0.0)
    else:
        pads = call.integers(1, "pads")
        value = call.scalar(2, "value") if call.given(2) else 0.0
    axes = axes_of(call, rank, since=18, position=3) if call.opset >= 18 else None
    axes = tuple(range(rank)) if axes is None else axes
    if pads is None or len(pads) != 2 * len(axes):
        raise call.error(f"'Pad' of {x.type} expects {2 * len(axes)} pads, got {0 if pads is None else len(pads)}.")
    around = np.zeros((2, rank), np.int64).tolist()
    for i, axis in enumerate(axes):
        around[0][axis], around[1][axis] = pads[i], pads[i + len(axes)]
    if any(p < 0 for p in pads):
        x = _crop(call, x, around)
        around = [[max(p, 0) for p in side] for side in around]
        if not any(around[0]) and not any(around[1]):
            return x
    return call.emit(PAD, PadAttrs((*around[0], *around[1]), value), x)


def _crop(call: Call, x: Value, around: list[list[int]]) -> Value:
    """Negative pads cut off."""
    cuts = [
        (axis, -min(a, 0), min(b, 0) or END)
        for axis, (a, b) in enumerate(zip(*around, strict=True))
        if min(a, b) < 0
    ]
    axes, starts, ends = zip(*cuts, strict=True)
    crop_only = all(p <= 0 for side in around for p in side)
    return call.emit(SLICE, SliceAttrs(axes, starts, ends, (1,) * len(axes)), x, suffix="" if crop_only else "crop")


def squeeze(call: Call) -> Result:
    x = call.value(0)
    axes = axes_of(call, x.type.rank, since=13)
    if axes is None:
        axes = tuple(i for i, d in enumerate(x.type.shape) if d == 1)
    return call.emit(SQUEEZE, AxesAttrs(axes), x) if axes else call.emit(IDENTITY, NoAttrs(), x)


def unsqueeze(call: Call) -> Result:
    axes = call.ints_attr("axes") if call.opset < 13 else call.integers(1, "axes")
    return call.emit(UNSQUEEZE, AxesAttrs(axes or ()), call.value(0))


def resize(call: Call) -> Result:
    raise call.error(
        f"'{call.op}' of a computed tensor is not supported: no operator here interpolates images.",
        hints=["Cut the model before it, or pool or pad instead."],
    )


CONVERTERS: Mapping[str, Converter] = {
    "Cast": cast,
    "Concat": concat,
    "Dropout": dropout,
    "Flatten": flatten,
    "Gather": gather,
    "Identity": identity,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""What becomes of these on computed tensors; on constants `fold` evaluates most of them."""

REFUSED: Mapping[str, Converter] = {"Resize": resize, "Upsample": resize}
"""Known operators that have no counterpart: refused with a reason of their own."""
