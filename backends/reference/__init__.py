"""The oracle: a NumPy interpreter in float64, slow and obvious."""

from cnnir.backends.reference.interpreter import Interpreter, Tap, run

__all__ = ["Interpreter", "Tap", "run"]
