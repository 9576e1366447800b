"""Loads and runs compiled artifacts, without the compiler: NumPy and TVM's small runtime are all it needs.

module = cnnir.runtime.load("resnet50.cnnmod")
scores = module(images)["output"]
"""

from __future__ import annotations

from pathlib import Path

from cnnir.artifact import Artifact, OnnxExecution
from cnnir.runtime.executor import Executor, TvmExecutor
from cnnir.runtime.module import Module
from cnnir.runtime.onnx import OnnxExecutor

__all__ = ["Module", "load"]


def load(path: str | Path, *, threads: int | None = None) -> Module:
    """Loads an artifact, after checking its version, its hashes and this processor.

    Args:
        path: a `.cnnmod` file.
        threads: how many a call may use, the caller being one; by default the cores that this process may use.

    Raises:
        CnnirError: one sentence about what does not fit.
    """
    artifact = Artifact.open(path)
    execution = artifact.manifest.execution
    executor: Executor
    if isinstance(execution, OnnxExecution):
        executor = OnnxExecutor(artifact, execution, threads)
    else:
        executor = TvmExecutor(artifact, execution, threads)
    return Module(artifact.manifest, executor)
