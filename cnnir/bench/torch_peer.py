"""The graph as PyTorch runs it: one `torch.nn.functional` call a node, straight-line code through `torch.fx`.

For measuring against PyTorch, eager or compiled; nothing here trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from cnnir.errors import CnnirError
from cnnir.ir import Graph, Node
from cnnir.ops.activation import Activation, ActivationKind, activation_of
from cnnir.ops.conv import ConvAttrs
from cnnir.ops.dense import DenseAttrs
from cnnir.ops.elementwise import BinaryAttrs
from cnnir.ops.normalization import BatchNormAttrs, LrnAttrs
from cnnir.ops.pool import AveragePoolAttrs, PoolAttrs
from cnnir.ops.reduce import ReduceAttrs, SoftmaxAttrs
from cnnir.ops.shape import ConcatAttrs, PadAttrs, SliceAttrs, TransposeAttrs

if TYPE_CHECKING:
    import torch

# A torch.Tensor, or the torch.fx.Proxy that stands for one while the graph is traced.
T: TypeAlias = Any


def to_torch(graph: Graph, *, batch: int) -> torch.nn.Module:
    """A module that takes the graph's inputs in order and returns its outputs as a tuple.

    Every constant of the graph is a frozen parameter of the module.

    Raises:
        CnnirError: an operator that PyTorch is not given here (quantised ones), by node and name.
    """
    import torch
    from torch import fx

    graph = graph.clone(batch=batch)
    root, code = torch.nn.Module(), fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(code)
    values: dict[object, T] = {
        v: fx.Proxy(code.placeholder(f"input_{i}"), tracer) for i, v in enumerate(graph.inputs)
    }

    def constant(array: np.ndarray[Any, Any]) -> T:
        name = f"constant_{len(list(root.parameters()))}"
        root.register_parameter(name, torch.nn.Parameter(torch.from_numpy(array.copy()), requires_grad=False))
        return fx.Proxy(code.get_attr(name), tracer)

    for value in graph.values():
        if value.data is not None:
            values[value] = constant(value.data.numpy())
    for node in graph.nodes:
        lowering = _TABLE.get(node.op.name)
        activation = activation_of(node.op, node.attrs)
        inputs = [None if v is None else values[v] for v in node.inputs]
        if activation is not None:
            values[node.output] = _activate(inputs[0], activation)
        elif lowering is not None:
            values[node.output] = lowering(_Context(node, constant), *inputs)
        else:
            raise CnnirError(
                f"Operator '{node.op.name}' has no counterpart for the peers 'torch' and 'inductor'.",
                at=node.loc or f"node '{node.name}'",
            )
    code.output(tuple(values[v].node for v in graph.outputs.values()))
    return fx.GraphModule(root, code)


class _Context:
    """What a lowering may ask: the node, and a way to make constants."""

    def __init__(self, node: Node, constant: Callable[[np.ndarray[Any, Any]], T]) -> None:
        self.node = node
        self.constant = constant

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output; static."""
        return self.node.output.type.shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input; static."""
        value = self.node.inputs[0]
        assert value is not None
        return value.type.shape


def _activate(x: T, activation: Activation | None) -> T:
    if activation is None:
        return x
    import torch
    import torch.nn.functional as F

    a, b = activation.alpha, activation.beta
    formulas: dict[ActivationKind, Callable[[], T]] = {
        ActivationKind.RELU: lambda: F.relu(x),
        ActivationKind.CLIP: lambda: torch.clamp(x, a, b),
        ActivationKind.LEAKY_RELU: lambda: F.leaky_relu(x, a),
        ActivationKind.ELU: lambda: F.elu(x, a),
        ActivationKind.SIGMOID: lambda: torch.sigmoid(x),
        ActivationKind.TANH: lambda: torch.tanh(x),
        ActivationKind.HARD_SIGMOID: lambda: torch.clamp(x * a + b, 0, 1),
        ActivationKind.HARD_SWISH: lambda: F.hardswish(x),
        ActivationKind.SILU: lambda: F.silu(x),
        ActivationKind.GELU: lambda: F.gelu(x),
        ActivationKind.EXP: lambda: torch.exp(x),
        ActivationKind.SQRT: lambda: torch.sqrt(x),
        ActivationKind.NEG: lambda: torch.neg(x),
        ActivationKind.ABS: lambda: torch.abs(x),
    }
    return formulas[activation.kind]()


def _conv(c: _Context, x: T, weight: T, bias: T, residual: T) -> T:
    import torch.nn.functional as F

    a = cast(ConvAttrs, c.node.attrs)
    top, left, bottom, right = a.pads
    padding = (top, left)
    if padding != (bottom, right):
        x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
    y = F.conv2d(x, weight, bias, a.stride, padding, a.dilation, a.groups)
    return _activate(y if residual is None else y + residual, a.activation)


def _dense(c: _Context, x: T, weight: T, bias: T) -> T:
    import torch.nn.functional as F

    return _activate(F.linear(x, weight, bias), cast(DenseAttrs, c.node.attrs).activation)


def _batch_norm(c: _Context, x: T, scale: T, bias: T, mean: T, var: T) -> T:
    import torch.nn.functional as F

    return F.batch_norm(x, mean, var, scale, bias, eps=cast(BatchNormAttrs, c.node.attrs).epsilon)


def _lrn(c: _Context, x: T) -> T:
    import torch.nn.functional as F

    a = cast(LrnAttrs, c.node.attrs)
    below = (a.size - 1) // 2
    # torch's own local_response_norm puts the odd neighbour of an even size on the other side.
    square = F.pad(x * x, (0, 0, 0, 0, below, a.size - 1 - below))
    mean = F.avg_pool3d(square.unsqueeze(1), (a.size, 1, 1), (1, 1, 1)).squeeze(1)
    return x / (mean * a.alpha + a.bias) ** a.beta


def _fits(a: PoolAttrs) -> bool:
    """Whether torch's own padding of pools, symmetric and at most half the kernel, can express this one."""
    top, left, bottom, right = a.pads
    half = top <= a.kernel_size[0] // 2 and left <= a.kernel_size[1] // 2
    return (top, left) == (bottom, right) and half


def _padded(c: _Context, x: T, a: PoolAttrs, value: float) -> T:
    """`x` padded (or cut) so that the windows of the output cover it exactly."""
    import torch.nn.functional as F

    top, left = a.pads[:2]
    spans = [
        (out - 1) * stride + dilation * (kernel - 1) + 1
        for out, stride, dilation, kernel in zip(c.shape[2:], a.stride, a.dilation, a.kernel_size, strict=True)
    ]
    h, w = c.input_shape[2:]
    return F.pad(x, (left, spans[1] - left - w, top, spans[0] - top - h), value=value)


def _max_pool(c: _Context, x: T) -> T:
    import torch.nn.functional as F

    a = cast(PoolAttrs, c.node.attrs)
    if _fits(a):
        return F.max_pool2d(x, a.kernel_size, a.stride, a.pads[:2], a.dilation, a.ceil_mode)
    return F.max_pool2d(_padded(c, x, a, float("-inf")), a.kernel_size, a.stride, 0, a.dilation)


def _average_pool(c: _Context, x: T) -> T:
    import torch.nn.functional as F

    a = cast(AveragePoolAttrs, c.node.attrs)
    if _fits(a) and a.dilation == (1, 1):
        return F.avg_pool2d(x, a.kernel_size, a.stride, a.pads[:2], a.ceil_mode, a.count_include_pad)
    n, channels, h, w = c.input_shape
    planes = _padded(c, x.reshape(n * channels, 1, h, w), a, 0.0)
    ones = c.constant(np.ones((1, 1, *a.kernel_size), np.float32))
    total = F.conv2d(planes, ones, None, a.stride, 0, a.dilation).reshape(c.shape)
    return total / c.constant(a.counts((h, w), pads_too=a.count_include_pad).astype(np.float32))


def _global_average_pool(c: _Context, x: T) -> T:
    return x.mean(dim=(2, 3), keepdim=True)


def _global_max_pool(c: _Context, x: T) -> T:
    return x.amax(dim=(2, 3), keepdim=True)


def _binary(function: str) -> Callable[[_Context, T, T], T]:
    def lower(c: _Context, a: T, b: T) -> T:
        import torch

        return _activate(getattr(torch, function)(a, b), cast(BinaryAttrs, c.node.attrs).activation)

    return lower


def _prelu(c: _Context, x: T, slope: T) -> T:
    import torch

    return torch.where(x < 0, slope * x, x)


def _reduce(method: str) -> Callable[[_Context, T], T]:
    def lower(c: _Context, x: T) -> T:
        a = cast(ReduceAttrs, c.node.attrs)
        return getattr(x, method)(dim=a.axes, keepdim=a.keepdims)

    return lower


def _softmax(c: _Context, x: T) -> T:
    import torch

    return torch.softmax(x, dim=cast(SoftmaxAttrs, c.node.attrs).axis)


def _same(c: _Context, x: T) -> T:
    return x


def _reshape(c: _Context, x: T) -> T:
    return x.reshape(c.shape)


def _transpose(c: _Context, x: T) -> T:
    return x.permute(cast(TransposeAttrs, c.node.attrs).perm)


def _concat(c: _Context, *xs: T) -> T:
    import torch

    return torch.cat(xs, dim=cast(ConcatAttrs, c.node.attrs).axis)


def _slice(c: _Context, x: T) -> T:
    a = cast(SliceAttrs, c.node.attrs)
    cuts = [slice(None)] * len(c.input_shape)
    flipped = []
    for axis, start, end, step in zip(a.axes, a.starts, a.ends, a.steps, strict=True):
        size = c.input_shape[axis]
        taken = range(*slice(start, end, step).indices(size))
        if step < 0:  # torch has no negative steps: take the same elements upwards, then flip
            taken = taken[::-1]
            flipped.append(axis)
        cuts[axis] = slice(taken.start, taken.stop, taken.step)
    y = x[tuple(cuts)]
    return y.flip(flipped) if flipped else y


def _pad(c: _Context, x: T) -> T:
    import torch.nn.functional as F

    a = cast(PadAttrs, c.node.attrs)
    rank = len(a.pads) // 2
    # torch lists the last axis first, before and after of each together.
    pairs: Sequence[int] = [p for axis in reversed(range(rank)) for p in (a.pads[axis], a.pads[rank + axis])]
    return F.pad(x, tuple(pairs), value=a.value)


_TABLE: dict[str, Callable[..., T]] = {
    "Conv": _conv,
    "Gemm": _dense,
    "BatchNormalization": _batch_norm,
    "LRN": _lrn,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "Add": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _binary("div"),
    "Max": _binary("maximum"),
    "Min": _binary("minimum"),
    "Pow": _binary("pow"),
    "PRelu": _prelu,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("amax"),
    "Softmax": _softmax,
    "Identity": _same,
    "Dropout": _same,
    "Reorder": _same,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
}
