"""What can be known about a value without running the network."""

from __future__ import annotations

from cnnir.ir import Node, Value
from cnnir.ops.activation import Activation, ActivationKind, activation_of
from cnnir.ops.pool import AVERAGE_POOL, GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL, MAX_POOL
from cnnir.ops.reduce import SOFTMAX
from cnnir.ops.shape import CONCAT, DROPOUT, IDENTITY, SLICE, VIEWS

_NEVER_NEGATIVE = frozenset(
    {
        ActivationKind.RELU,
        ActivationKind.SIGMOID,
        ActivationKind.HARD_SIGMOID,
        ActivationKind.EXP,
        ActivationKind.SQRT,
        ActivationKind.ABS,
    }
)

_SELECTS = frozenset(
    {MAX_POOL, AVERAGE_POOL, GLOBAL_AVERAGE_POOL, GLOBAL_MAX_POOL, CONCAT, SLICE, IDENTITY, DROPOUT, *VIEWS}
)
"""Operators whose every output element lies between elements of their inputs (or is a padding zero)."""


def epilogue_activation(node: Node) -> Activation | None:
    """The activation that is applied last in `node`: the node itself, or its epilogue's."""
    own = activation_of(node.op, node.attrs)
    fused = getattr(node.attrs, "activation", None)
    return own or (fused if isinstance(fused, Activation) else None)


def is_non_negative(value: Value) -> bool:
    """Whether every element is known to be at least 0, from the activations that lead to it."""
    seen: set[Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if current.producer is None:
            return False
        node = current.producer
        activation = epilogue_activation(node)
        if activation is not None and (
            activation.kind in _NEVER_NEGATIVE or (activation.kind is ActivationKind.CLIP and activation.alpha >= 0)
        ):
            continue
        if node.op is SOFTMAX:
            continue
        if node.op not in _SELECTS:
            return False
        pending += [v for v in node.inputs if v is not None]
    return True


def moves_nothing(perm: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a transposition of that shape keeps every element where it is: it moves axes of length 1 only."""
    order = [axis for axis in perm if shape[axis] != 1]
    return order == sorted(order)
