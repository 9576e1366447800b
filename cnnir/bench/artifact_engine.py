"""Our own engine: an artifact in the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnir import runtime
from cnnir.bench.engine import LoadRequest, TensorSpec
from cnnir.ir import Array


class ArtifactEngine:
    """An artifact as `cnnir.runtime.load` runs it; its batch size and precision are the artifact's own."""

    def __init__(self, request: LoadRequest) -> None:
        self._module = runtime.load(request.path, threads=request.threads)
        manifest = self._module.manifest
        self.version = manifest.cnnir_version
        self.precision = manifest.precision
        self.inputs = [TensorSpec(s.name, s.shape, s.dtype) for s in manifest.inputs]
        self._arrays: list[Array] = []
        self._results: Mapping[str, Array] = {}

    def prepare(self, arrays: Sequence[Array]) -> None:
        self._arrays = list(arrays)

    def run(self) -> None:
        self._results = self._module(*self._arrays)

    def outputs(self) -> Mapping[str, Array]:
        return self._results
