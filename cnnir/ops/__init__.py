"""The operators, one family a file; importing this package registers them all."""

from cnnir.ops import activation, conv
from cnnir.ops.registry import operator, operators

__all__ = ["activation", "conv", "operator", "operators"]
