"""The operators, one family a file; importing this package registers them all."""

from cnnir.ir.registry import operator, operators
from cnnir.ops import activation, conv

__all__ = ["activation", "conv", "operator", "operators"]
