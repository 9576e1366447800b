"""Nodes whose result is known while importing: constants, and sizes computed from shapes.

Exporters wrap a `flatten` or a channel shuffle in chains of `Shape`, `Gather`, `Concat` and arithmetic; evaluated
here, with the batch size as a symbol, they leave a plain `Reshape`. Arithmetic is NumPy's in the element type of
the file, as ONNX defines it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from cnnir.errors import CnnirError
from cnnir.frontends.onnx.batch import BatchSize, sizes, tidy
from cnnir.frontends.onnx.context import Call, axes_of, describe, shape_of
from cnnir.ir import Array, Value

LIMIT = 1 << 28
"""The most elements a folded array may have, so that a broken file cannot ask for the whole memory."""

Known = Sequence[Array | None]
Folder = Callable[[Call, Known], Array]


def fold(call: Call) -> Array | None:
    """The result of a node that needs no graph to compute it; `None` when it does."""
    if call.op in ("Shape", "Size") and call.inputs:
        dims = list(shape_of(call.entry(0)))
        return _guarded(call, lambda: _size(dims) if call.op == "Size" else _shape(call, dims))
    folder = FOLDERS.get(call.op)
    if folder is None:
        return None
    known = [call.known(i) if call.given(i) else None for i in range(len(call.inputs))]
    if any(k is None and call.given(i) for i, k in enumerate(known)):
        return None
    return _guarded(call, lambda: tidy(np.asarray(folder(call, known))))


def _guarded(call: Call, compute: Callable[[], Array]) -> Array:
    try:
        with np.errstate(all="ignore"):
            return compute()
    except CnnirError:
        raise
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        # NumPy's own check of the operands, or arithmetic on the batch size that leaves the linear sizes.
        raise call.error(f"Cannot evaluate '{call.op}' of constants.", notes=[f"{error}."]) from None


def tensor_array(proto: Any, what: str, at: object) -> Array:
    """The elements of a `TensorProto`; `CnnirError` when they do not fit its own shape and type."""
    try:
        array = np.asarray(numpy_helper.to_array(proto))
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise CnnirError(f"Cannot read {what}.", at=at, notes=[f"{error}."]) from None
    if array.dtype.kind in "OSUc":
        raise CnnirError(f"Cannot use {what}: it holds strings or complex numbers.", at=at)
    return array


def _limited(call: Call, shape: Sequence[int]) -> tuple[int, ...]:
    if any(d < 0 for d in shape) or math.prod(shape) > LIMIT:
        raise call.error(f"'{call.op}' asks for a constant of shape {list(shape)}.")
    return tuple(shape)


def _shape(call: Call, dims: list[int | BatchSize]) -> Array:
    rank = len(dims)
    # `start` and `end` exist since opset 15; Python's slices clamp them just as ONNX does.
    return sizes(dims[call.int_attr("start", 0) : call.int_attr("end", rank)])


def _size(dims: list[int | BatchSize]) -> Array:
    total: int | BatchSize = 1
    for d in dims:
        total = total * d
    return sizes([total]).reshape(())


def _constant(call: Call, _: Known) -> Array:
    if call.has("value"):
        return tensor_array(call.tensor_attr("value"), "attribute 'value' of 'Constant'", call.loc)
    if call.has("value_int"):
        return np.asarray(call.int_attr("value_int", 0), np.int64)
    if call.has("value_float"):
        return np.asarray(call.float_attr("value_float", 0.0), np.float32)
    for name, array in (("value_ints", call.ints_attr), ("value_floats", call.floats_attr)):
        if call.has(name):
            return np.asarray(array(name), np.int64 if name == "value_ints" else np.float32)
    raise call.error(
        "'Constant' holds neither a tensor nor numbers.", hints=["Strings and sparse tensors are not supported."]
    )


def _constant_of_shape(call: Call, known: Known) -> Array:
    value = np.zeros(1, np.float32)
    if call.has("value"):
        value = tensor_array(call.tensor_attr("value"), "attribute 'value' of 'ConstantOfShape'", call.loc)
    return np.broadcast_to(value.reshape(()), _limited(call, call.integers(0, "shape")))


def _first(known: Known) -> Array:
    x = known[0]
    assert x is not None
    return x


def _identity(call: Call, known: Known) -> Array:
    return _first(known)


def _cast(call: Call, known: Known) -> Array:
    x, to = _first(known), call.int_attr("to", 0)
    if x.dtype == object:
        if to not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
            raise TypeError("a size that depends on the batch size must stay an integer")
        return x
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to)) if to in onnx.TensorProto.DataType.values() else None
    if dtype is None or dtype.kind == "O":
        raise call.error(f"'Cast' to element type {to} is not supported.")
    return x.astype(dtype)


def _gather(call: Call, known: Known) -> Array:
    x, indices = _first(known), call.array(1, "indices")
    return np.take(x, indices, axis=call.axis(call.int_attr("axis", 0), x.ndim))


def _concat(call: Call, known: Known) -> Array:
    arrays = [k for k in known if k is not None]
    return np.concatenate(_alike(arrays), axis=call.int_attr("axis", 0))


def _alike(arrays: list[Array]) -> list[Array]:
    """Sizes that depend on the batch size may stand beside integers only."""
    if all(a.dtype != object for a in arrays):
        return arrays
    if any(a.dtype.kind not in "iuO" for a in arrays):
        raise TypeError("a size that depends on the batch size must stay an integer")
    return [a.astype(object) for a in arrays]


def slice_parameters(call: Call, rank: int) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) of a `Slice`, as the file gives them but for the axis, counted from the front.

    They are attributes before opset 10 (without step), inputs since.
    """
    if call.opset < 10:
        starts, ends, axes = call.ints_attr("starts"), call.ints_attr("ends"), call.ints_attr("axes")
        steps = None
    else:
        starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
        axes = call.integers(3, "axes") if call.given(3) else None
        steps = call.integers(4, "steps") if call.given(4) else None
    if starts is None or ends is None:
        raise call.error("'Slice' lacks 'starts' or 'ends'.")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise call.error("'Slice' needs as many starts as ends, axes and steps.")
    counted = [call.axis(a, rank) for a in axes]
    if len(set(counted)) != len(counted) or 0 in steps:
        raise call.error("'Slice' needs distinct axes and steps that are not 0.")
    return list(zip(counted, starts, ends, steps, strict=True))


def _slice(call: Call, known: Known) -> Array:
    x = _first(known)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in slice_parameters(call, x.ndim):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _squeeze(call: Call, known: Known) -> Array:
    x = _first(known)
    return np.squeeze(x, axis=axes_of(call, x.ndim, since=13))


def _unsqueeze(call: Call, known: Known) -> Array:
    x = _first(known)
    axes = (call.ints_attr("axes") if call.opset < 13 else call.integers(1, "axes")) or ()
    return np.expand_dims(x, axis=axes)


def _reshape(call: Call, known: Known) -> Array:
    x, shape = _first(known), list(call.integers(1, "shape"))
    if not call.flag("allowzero"):
        shape = [x.shape[i] if d == 0 else d for i, d in enumerate(shape)]
    return x.reshape(shape)


def _transpose(call: Call, known: Known) -> Array:
    return np.transpose(_first(known), call.ints_attr("perm"))


def _binary(function: Callable[[Array, Array], Array]) -> Folder:
    def apply(call: Call, known: Known) -> Array:
        arrays = [k for k in known if k is not None]
        _limited(call, np.broadcast_shapes(*(a.shape for a in arrays)))
        result = arrays[0]
        for array in arrays[1:]:
            result = np.asarray(function(result, array))
        return result

    return apply


def _divide(a: Array, b: Array) -> Array:
    if a.dtype == object or b.dtype == object:
        return np.asarray(np.floor_divide(a, b))
    if a.dtype.kind in "iu":
        # ONNX truncates integer quotients toward zero.
        quotient = np.abs(a) // np.abs(b)
        return np.asarray(quotient * np.sign(a) * np.sign(b), a.dtype)
    return np.asarray(a / b, a.dtype)


def _unary(function: Callable[[Array], Array]) -> Folder:
    def apply(call: Call, known: Known) -> Array:
        x = _first(known)
        return np.asarray(function(x), x.dtype)

    return apply


def _range(call: Call, known: Known) -> Array:
    start, limit, delta = (call.scalar(i, "bounds") for i in range(3))
    (steps,) = _limited(call, [max(0, math.ceil((limit - start) / delta))])
    return np.asarray(start + delta * np.arange(steps), _first(known).dtype)


def _expand(call: Call, known: Known) -> Array:
    x = _first(known)
    return np.broadcast_to(x, _limited(call, np.broadcast_shapes(x.shape, call.integers(1, "shape"))))


def _where(call: Call, known: Known) -> Array:
    condition, x, y = known
    assert condition is not None and x is not None and y is not None
    _limited(call, np.broadcast_shapes(condition.shape, x.shape, y.shape))
    return np.where(condition, *_alike([x, y]))


def _product(call: Call, known: Known) -> Array:
    x = _first(known)
    axes = axes_of(call, x.ndim, since=18)
    keep = call.flag("keepdims", True)
    return np.asarray(np.prod(x, axis=axes, keepdims=keep))


FOLDERS: Mapping[str, Folder] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_divide),
    "Equal": _binary(np.equal),
    "Exp": _unary(np.exp),
    "Expand": _expand,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Identity": _identity,
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Range": _range,
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""Operators evaluated where all their inputs are known. Others on constants become nodes like any other."""

ALWAYS_FOLDED = frozenset({"Shape", "Size", "Constant", "ConstantOfShape"})


def known_of(call: Call, i: int) -> Array:
    """A known input that may depend on the batch size."""
    entry = call.entry(i)
    if isinstance(entry, Value):
        raise call.error(
            f"Input '{call.inputs[i]}' of '{call.op}' must be known when the model is imported, but the model "
            "computes it from its input.",
            hints=["Simplify the model (constant folding) or export it with fixed sizes."],
        )
    if entry.dtype.kind not in "iuO":
        raise call.error(f"Input '{call.inputs[i]}' of '{call.op}': expected integers, got {describe(entry)}.")
    return entry
