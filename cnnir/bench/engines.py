"""The engines themselves: ours and the peers. Each imports its package only when made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnir.bench.engine import Engine, LoadRequest, TensorSpec
from cnnir.errors import CnnirError, UnknownNameError
from cnnir.ir import Array

if TYPE_CHECKING:
    import torch


class OnnxRuntimeEngine:
    """ONNX Runtime's CPU provider, all graph optimisations, the batch size fixed before it optimises."""

    precision = "fp32"

    def __init__(self, request: LoadRequest) -> None:
        import onnxruntime

        self.version = metadata.version("onnxruntime")
        self._request = request
        self._runtime = onnxruntime
        probe = self._session({})
        self._symbols = {d for i in probe.get_inputs() for d in i.shape if isinstance(d, str)}
        self.inputs = [
            TensorSpec(i.name, tuple(d if isinstance(d, int) else -1 for d in i.shape), _onnx_dtype(i.type))
            for i in probe.get_inputs()
        ]
        self._names = [o.name for o in probe.get_outputs()]
        self._feeds: dict[str, Array] = {}
        self._results: list[Array] = []
        self._ready = probe

    def _session(self, sizes: Mapping[str, int]) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._request.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for symbol, size in sizes.items():
            options.add_free_dimension_override_by_name(symbol, size)
        return self._runtime.InferenceSession(self._request.path, options, providers=["CPUExecutionProvider"])

    def prepare(self, arrays: Sequence[Array]) -> None:
        self._feeds = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        if self._symbols:
            self._ready = self._session({symbol: len(arrays[0]) for symbol in self._symbols})

    def run(self) -> None:
        self._results = self._ready.run(None, self._feeds)

    def outputs(self) -> Mapping[str, Array]:
        return dict(zip(self._names, self._results, strict=True))


class OpenVinoEngine:
    """OpenVINO's CPU plugin with its latency hint; inputs are shared, not copied."""

    def __init__(self, request: LoadRequest) -> None:
        import openvino

        self.version = metadata.version("openvino")
        self.precision = request.precision
        self._core = openvino.Core()
        self._model = self._core.read_model(request.path)
        self._config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": request.threads,
            # Left to itself it would take bf16 where the processor has AMX.
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[request.precision],
        }
        self.inputs = [
            TensorSpec(
                port.get_any_name(),
                tuple(-1 if d.is_dynamic else d.get_length() for d in port.get_partial_shape()),
                np.dtype(port.get_element_type().to_dtype()).name,
            )
            for port in self._model.inputs
        ]
        self._names = [port.get_any_name() for port in self._model.outputs]
        self._feeds: dict[int, Array] = {}
        self._request: Any = None

    def prepare(self, arrays: Sequence[Array]) -> None:
        self._model.reshape({i: list(array.shape) for i, array in enumerate(arrays)})
        self._feeds = dict(enumerate(arrays))
        self._request = self._core.compile_model(self._model, "CPU", self._config).create_infer_request()

    def run(self) -> None:
        self._request.infer(self._feeds, share_inputs=True, share_outputs=True)

    def outputs(self) -> Mapping[str, Array]:
        return {
            name: np.array(self._request.get_output_tensor(i).data, np.float32)
            for i, name in enumerate(self._names)
        }


class TorchEngine:
    """PyTorch on the imported graph in channels_last order: eager, or compiled by Inductor with frozen weights."""

    def __init__(self, request: LoadRequest, *, compiled: bool) -> None:
        import torch

        from cnnir.frontends import load

        torch.set_num_threads(request.threads)
        self.version = metadata.version("torch")
        self.precision = request.precision
        self._compiled = compiled
        self._graph = load(str(request.path))
        self.inputs = [TensorSpec(v.name, v.type.shape, v.type.dtype.numpy.name) for v in self._graph.inputs]
        self._module: Any = None
        self._feeds: list[torch.Tensor] = []
        self._results: tuple[torch.Tensor, ...] = ()

    def prepare(self, arrays: Sequence[Array]) -> None:
        import torch

        from cnnir.bench.torch_peer import to_torch

        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision]
        module = to_torch(self._graph, batch=len(arrays[0])).to(dtype).to(memory_format=torch.channels_last)
        if self._compiled:
            from torch._inductor import config

            config.freezing = True
            self._module = torch.compile(module)
        else:
            self._module = module
        self._feeds = [torch.from_numpy(array).to(dtype) for array in arrays]
        self._feeds = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in self._feeds]

    def run(self) -> None:
        import torch

        with torch.inference_mode() if not self._compiled else torch.no_grad():
            self._results = self._module(*self._feeds)

    def outputs(self) -> Mapping[str, Array]:
        return {name: value.float().numpy() for name, value in zip(self._graph.outputs, self._results, strict=True)}


def make_engine(request: LoadRequest) -> Engine:
    """The engine that a request names.

    Raises:
        UnknownNameError: no such engine.
        CnnirError: its package is missing, or it cannot load the file.
    """
    try:
        match request.engine:
            case "cnnir":
                from cnnir.bench.artifact_engine import ArtifactEngine

                return ArtifactEngine(request)
            case "onnxruntime":
                return OnnxRuntimeEngine(request)
            case "openvino":
                return OpenVinoEngine(request)
            case "torch" | "inductor":
                return TorchEngine(request, compiled=request.engine == "inductor")
            case other:
                raise UnknownNameError("engine", other, ["cnnir", "onnxruntime", "openvino", "torch", "inductor"])
    except ImportError as error:
        raise CnnirError(f"The package '{error.name}' cannot be imported: {error}.") from error


def _onnx_dtype(name: str) -> str:
    types = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(float16)": "float16"}
    if name not in types:
        raise CnnirError(
            f"Inputs of type '{name}' cannot be measured.", hints=[f"Expected one of {', '.join(types)}."]
        )
    return types[name]
