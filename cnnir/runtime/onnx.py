"""Artifacts that hold an ONNX model: executed by ONNX Runtime, which is imported only for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnir.artifact import Artifact, OnnxExecution
from cnnir.errors import CnnirError
from cnnir.runtime import threads as thread_count

Array = NDArray[Any]


class OnnxExecutor:
    """An ONNX Runtime session over the model in the artifact."""

    def __init__(self, artifact: Artifact, execution: OnnxExecution, threads: int | None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise CnnirError(
                f"'{artifact.path}' runs in ONNX Runtime, which is not installed.",
                hints=["Run 'pip install onnxruntime'."],
            ) from None
        self.threads = thread_count.choose(threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            artifact.member(execution.model).tobytes(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [spec.name for spec in artifact.manifest.inputs]
        self._outputs = [spec.name for spec in artifact.manifest.outputs]

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        results = self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))
        for array, result in zip(outputs, results, strict=True):
            if array.shape != result.shape:  # copyto would broadcast
                raise CnnirError(f"Expected shape {list(array.shape)} from ONNX Runtime, got {list(result.shape)}.")
            np.copyto(array, result)
