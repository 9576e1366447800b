"""Every ONNX operator that can be imported, with its converter."""

from __future__ import annotations

from collections.abc import Mapping

from cnnir.frontends.onnx import (
    activations,
    dense,
    elementwise,
    normalization,
    quantize,
    reduce,
    shapes,
    upsample,
    windows,
)
from cnnir.frontends.onnx.context import Converter
from cnnir.frontends.onnx.fold import ALWAYS_FOLDED, FOLDERS

CONVERTERS: Mapping[str, Converter] = {
    **activations.CONVERTERS,
    **dense.CONVERTERS,
    **elementwise.CONVERTERS,
    **normalization.CONVERTERS,
    **quantize.CONVERTERS,
    **reduce.CONVERTERS,
    **shapes.CONVERTERS,
    **upsample.CONVERTERS,
    **windows.CONVERTERS,
}

REFUSED: Mapping[str, Converter] = shapes.REFUSED

SUPPORTED: frozenset[str] = frozenset(CONVERTERS)
"""Operators on tensors that the model computes."""

CONSTANTS_ONLY: frozenset[str] = (frozenset(FOLDERS) | ALWAYS_FOLDED) - SUPPORTED
"""Operators evaluated while importing, where their inputs are constants or sizes."""
