"""What every family is tried with: another library's model of it, and the whole way to compiled code."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import onnx as onnx_backend
from cnnir.backends import reference
from cnnir.compiler import compile_source
from cnnir.frontends.source import load
from cnnir.frontends.weights import load_weights
from cnnir.ir import Array, ArrayData, Graph
from cnnir.ir.text import load_graph, print_graph, save_graph


def relative_rms(actual: Array, expected: Array) -> float:
    return math.sqrt(((actual - expected) ** 2).mean() / (expected**2).mean())


def randomise_module(module: Any) -> Any:
    """Batch normalisations that do something: at their initial statistics any mistake in them would cancel."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.uniform_(-0.5, 0.5, generator=generator)
            part.running_mean.uniform_(-0.5, 0.5, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval().double()


def randomise_graph(graph: Graph) -> Graph:
    """The same for a graph, within a tenth: with more, untrained networks of 100 layers become chaotic, and float32
    rounding errors grow to percents in every runtime."""
    rng = np.random.default_rng(3)
    for node in graph.nodes:
        if node.op.name == "BatchNormalization":
            for port, (low, high) in enumerate(((0.9, 1.1), (-0.1, 0.1), (-0.1, 0.1), (0.9, 1.1)), 1):
                value = node.inputs[port]
                assert value is not None
                value.data = ArrayData(rng.uniform(low, high, value.type.shape).astype(np.float32))
    return graph


@pytest.fixture(scope="session")
def randomised() -> Callable[[Any], Any]:
    """Makes a PyTorch module's normalisations do something, and it a module of float64 for inference."""
    return randomise_module


@pytest.fixture(scope="session")
def learnable() -> Callable[[Graph], int]:
    """The number of learnable parameters, counted here."""
    return lambda graph: sum(math.prod(v.type.shape) for v in graph.parameters())


@pytest.fixture(scope="session")
def products() -> Callable[[Graph], int]:
    """MACs of the convolutions and dense layers: what most papers and torchvision count."""
    return lambda graph: sum(n.macs for n in graph_cost(graph).nodes if n.op in ("Conv", "ConvTranspose", "Gemm"))


@pytest.fixture(scope="session")
def same_names() -> Callable[[Graph, Callable[[], Any]], None]:
    """All parameters and running statistics called and shaped as in the state_dict of what `make()` gives."""

    def check(graph: Graph, make: Callable[[], Any]) -> None:
        import torch

        with torch.device("meta"):
            state = make().state_dict()
        expected = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}
        ours = {v.name: v.type.shape for v in graph.constants() if not v.name.endswith(".literal")}
        assert ours == expected

    return check


@pytest.fixture
def same_outputs(tmp_path: Path) -> Callable[[Graph, Any], None]:
    """The state_dict of a PyTorch module loads, and gives the module's outputs but for rounding in float64."""

    def check(graph: Graph, module: Any) -> None:
        import torch

        randomise_module(module)
        state = {k: v.float() for k, v in module.state_dict().items()}
        module.load_state_dict(state)
        torch.save(state, tmp_path / "weights.pth")
        load_weights(graph, tmp_path / "weights.pth")
        shape = graph.inputs[0].type.shape[1:]
        image = np.random.default_rng(2).standard_normal((2, *shape)).astype(np.float32)
        got = reference.run(graph, {"input": image})["logits"]
        with torch.no_grad():
            expected = module(torch.from_numpy(image).double()).numpy()
        assert expected.std() > 1e-3
        # Thousands of terms a sum and 100 layers in double precision: far below 1e-9 of the largest output.
        assert np.abs(got - expected).max() <= 1e-9 * np.abs(expected).max()

    return check


@pytest.fixture
def deploys(tmp_path: Path) -> Callable[..., None]:
    """A built-in network verifies, comes back from its text form, and computes the same in the float64 reference,
    in ONNX Runtime (exported) and in compiled x86 code, which the compiler itself compares with the reference."""

    def check(name: str, size: int, *, channels: int = 3, output: str = "logits", **options: object) -> None:
        source = load(name, input_shape=(channels, size, size), options=options)
        graph = randomise_graph(source.graph)
        graph.verify()
        image = np.random.default_rng(4).standard_normal((2, channels, size, size)).astype(np.float32)
        expected = reference.run(graph, {"input": image})[output]
        assert np.isfinite(expected).all()
        assert expected.std() > 1e-6

        save_graph(graph, tmp_path / "net.cnnir")
        again = load_graph(tmp_path / "net.cnnir")
        assert print_graph(again) == print_graph(graph)
        np.testing.assert_array_equal(reference.run(again, {"input": image})[output], expected)

        assert relative_rms(onnx_backend.run(graph, {"input": image})[output], expected) <= 1e-5
        deviation = compile_source(source, tmp_path / "net.cnnmod").deviation
        assert deviation is not None
        assert deviation.passed

    return check


@pytest.fixture(scope="session")
def carry_over() -> Callable[[Graph, Graph], None]:
    """Gives a graph the weights of another that has equal convolutions in the same order, and so normalisations and
    dense layers (their order relative to convolutions beside them is free); all shapes must be equal."""

    def carry(target: Graph, trained: Graph) -> None:
        for kind in ("Conv", "BatchNormalization", "Gemm"):
            ours, theirs = ([n for n in g.nodes if n.op.name == kind] for g in (target, trained))
            for mine, other in zip(ours, theirs, strict=True):
                for value, source in zip(mine.inputs[1:], other.inputs[1:], strict=True):
                    if value is None or source is None:
                        assert value is source, f"{mine.name} against {other.name}"
                    else:
                        assert value.type.shape == source.type.shape
                        value.data = source.data

    return carry


@pytest.fixture
def light_model(tmp_path: Path) -> Callable[[str, Callable[[Any], None]], Graph]:
    """One of the architectures without weights that the onnx package comes with, each of its ONNX nodes first given
    to a function that may put right what an old converter had lost."""
    import onnx

    def make(name: str, restore: Callable[[Any], None]) -> Graph:
        folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
        if not folder.is_dir():
            pytest.skip("this onnx package comes without its light models")
        model = onnx.load(folder / f"light_{name}.onnx")
        for node in model.graph.node:
            restore(node)
        onnx.save(model, tmp_path / "light.onnx")
        return load(str(tmp_path / "light.onnx")).graph

    return make
