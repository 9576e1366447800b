"""Operations of several tensors, and blocks that papers use by name."""

from __future__ import annotations

from collections.abc import Sequence

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.convolution import Conv
from cnnir.frontends.dsl.layer import block
from cnnir.frontends.dsl.place import user_loc
from cnnir.frontends.dsl.pointwise import ReLU, Sigmoid
from cnnir.frontends.dsl.pooling import GlobalAvgPool
from cnnir.frontends.dsl.tensor import Tensor, not_a_tensor
from cnnir.ops.shape import CONCAT, ConcatAttrs


def concat(*tensors: Tensor, axis: int = 1) -> Tensor:
    """Joins tensors along an axis (the channels, unless given); all other dimensions are equal."""
    first = _first("concat", tensors)
    return first.builder.function("concat", CONCAT, ConcatAttrs(axis), tensors)


def add(*tensors: Tensor, broadcast: bool = False) -> Tensor:
    """The sum; tensors of different shapes only with `broadcast` (NumPy's rules)."""
    total = _first("add", tensors)
    for x in tensors[1:]:
        if not isinstance(x, Tensor):
            raise not_a_tensor(x, "as an input of 'add'")
        total = total.builder.arithmetic("Add", total, x, broadcast=broadcast)
    return total


def select(x: Tensor, channels: Sequence[int]) -> Tensor:
    """Some channels of a tensor, in that order: slices of neighbouring ones, joined."""
    runs: list[list[int]] = []
    for channel in channels:
        if not 0 <= channel < x.channels:
            raise CnnirError(f"Expected channels from 0 to {x.channels - 1}, got {channel}.", at=user_loc())
        if runs and channel == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([channel, channel + 1])
    parts = [x[:, start:stop] for start, stop in runs]
    return parts[0] if len(parts) == 1 else concat(*parts)


@block
def squeeze_excite(x: Tensor, squeezed: int) -> Tensor:
    """Scales every channel by what two dense layers make of all channels' means.

    Hu et al. 2018, Squeeze-and-Excitation Networks, arXiv 1709.01507, figure 1; `fc1` and `fc2` are 1x1
    convolutions, the first with `squeezed` filters.
    """
    gate = (
        x
        >> GlobalAvgPool()
        >> Conv(squeezed, 1, name="fc1")
        >> ReLU()
        >> Conv(x.channels, 1, name="fc2")
        >> Sigmoid()
    )
    return x * gate


def _first(what: str, tensors: Sequence[object]) -> Tensor:
    if not tensors:
        raise CnnirError(f"'{what}' needs at least one tensor.", at=user_loc())
    if not isinstance(tensors[0], Tensor):
        raise not_a_tensor(tensors[0], f"as an input of '{what}'")
    return tensors[0]
