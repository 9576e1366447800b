"""Accuracy on labelled images, and how far outputs are from a reference."""

from cnnir.validate.accuracy import Accuracy, Corrupt, Predict, evaluate
from cnnir.validate.numeric import BOUNDS, Deviation, OutputDeviation, ValidationError, bound_of, compare

__all__ = [
    "BOUNDS",
    "Accuracy",
    "Corrupt",
    "Deviation",
    "OutputDeviation",
    "Predict",
    "ValidationError",
    "bound_of",
    "compare",
    "evaluate",
]
