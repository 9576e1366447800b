"""Import of ONNX models: convolutional networks of opset 7 and later."""

from cnnir.frontends.onnx.importer import from_model, load
from cnnir.frontends.onnx.table import CONSTANTS_ONLY, SUPPORTED

__all__ = ["CONSTANTS_ONLY", "SUPPORTED", "from_model", "load"]
