"""Real models: the shared files, and what PyTorch's exporter makes of networks of timm and torchvision."""

from __future__ import annotations

import contextlib
import io
import lzma
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cnnir.backends import reference
from cnnir.backends.onnx import run, run_model
from cnnir.frontends.onnx import from_model, load
from cnnir.ir import BATCH, Array, Graph, Node, Value

# file: range of the input (as its preprocessing gives it), images to try
FILES: dict[str, tuple[float, float, int]] = {
    "efficientnet_lite0.onnx": (-1, 1, 2),
    "mobilenet_v1.onnx": (-1, 1, 2),
    "squeezenet1_0_dc.onnx": (-110, 140, 2),
    "resnet20_cifar10.onnx": (-2, 2, 4),
    "resnet8_mlperftiny_cifar10.onnx": (0, 255, 4),
    "resnet50_keras_f16w.onnx.xz": (-110, 140, 1),
}


def _read(folder: Path, name: str) -> bytes:
    data = (folder / name).read_bytes()
    return lzma.decompress(data) if name.endswith(".xz") else data


def _blobs(shape: tuple[int, ...], low: float, high: float, seed: int = 0) -> Array:
    """Smooth random images: more like photographs than noise, so that no layer falls silent."""
    rng = np.random.default_rng(seed)
    n, c, h, w = shape
    coarse = rng.uniform(low, high, (n, c, 8, 8))
    fine = np.kron(coarse, np.ones((1, 1, -(-h // 8), -(-w // 8))))[:, :, :h, :w]
    return np.clip(fine + rng.normal(0, (high - low) / 20, shape), low, high).astype(np.float32)


def relative_rms(got: Array, expected: Array) -> float:
    expected = expected.astype(np.float64)
    return float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("name", FILES)
def test_shared_model(name: str, shared_data: Path) -> None:
    """The float64 reference of the imported graph, and its export, agree with ONNX Runtime on the file."""
    low, high, images = FILES[name]
    data = _read(shared_data, name)
    graph = from_model(onnx.load_model_from_string(data), name.split(".")[0])
    graph.verify()
    (x,) = graph.inputs
    assert x.name == "input" and x.type.shape[0] == BATCH
    feeds = {"input": _blobs((images, *x.type.shape[1:]), low, high)}
    expected = run_model(data, feeds, threads=2)
    got, exported = reference.run(graph, feeds), run(graph, feeds, threads=2)
    assert list(got) == list(exported) == list(expected)
    for key, array in expected.items():
        assert array.std() > 0
        assert relative_rms(got[key], array) < 1e-5
        assert relative_rms(exported[key].astype(np.float64), array) < 1e-6


def test_comparison_sees_a_small_change(shared_data: Path) -> None:
    """One BatchNormalization of 19 with epsilon 1e-3 in place of 1e-5 is beyond the tolerance."""
    model = onnx.load(str(shared_data / "resnet20_cifar10.onnx"))
    feeds = {"input": _blobs((2, 3, 32, 32), -2, 2)}
    (expected,) = run_model(model.SerializeToString(), feeds).values()
    norm = next(n for n in model.graph.node if n.op_type == "BatchNormalization")
    assert norm.attribute[0].f == np.float32(1e-5)
    norm.attribute[0].f = 1e-3
    (got,) = reference.run(from_model(model, "changed"), feeds).values()
    assert relative_rms(got, expected) > 1e-5


def _each_tensor(data: bytes, feeds: dict[str, Array]) -> dict[str, Array]:
    """Every tensor that ONNX Runtime computes, without its optimisations."""
    model = onnx.load_model_from_string(data)
    outputs = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name not in outputs:
                model.graph.output.add(name=name)
    return run_model(model.SerializeToString(), feeds, optimise=False)


def test_quantised_model_node_by_node(shared_data: Path) -> None:
    """Rounding to int8 amplifies the last bit of float32 at ties, so each node is given what ONNX Runtime gave it:
    quantised results are equal but where the quotient is a tie, all others agree to float32."""
    data = _read(shared_data, "resnet8_mlperftiny_int8_qdq.onnx")
    model = onnx.load_model_from_string(data)
    graph = from_model(model, "int8")
    feeds = {"input": _blobs((4, 3, 32, 32), 0, 255)}
    tensors = _each_tensor(data, feeds)
    written = {n.name: n.output[0] for n in model.graph.node}
    compared = 0
    for node in graph.nodes:
        inputs = [_input_of(value, tensors, written, feeds) for value in node.inputs]
        (got,) = node.op.reference(node.attrs, inputs)
        expected = tensors[written[node.name]]
        if node.op.name == "QuantizeLinear":
            assert got.dtype == expected.dtype
            step = np.abs(got.astype(int) - expected.astype(int))
            x, scale = inputs[0], inputs[1]
            assert x is not None and scale is not None
            distance = np.abs(np.abs(x / scale - np.trunc(x / scale)) - 0.5)
            assert step.max() <= 1 and (distance[step > 0] < 1e-5).all()
        else:
            assert relative_rms(got.astype(np.float64), expected) < 1e-5
        compared += 1
    assert compared == len(graph.nodes) == 63


def _input_of(
    value: Value | None, tensors: dict[str, Array], written: dict[str, str], feeds: dict[str, Array]
) -> Any:
    if value is None:
        return None
    if value.data is not None:
        array = value.data.numpy()
    elif value.producer is None:
        array = feeds[value.name]
    else:
        array = tensors[written[value.producer.name]]
    return array.astype(np.float64) if array.dtype == np.float32 else array


def test_quantised_model_end_to_end(shared_data: Path) -> None:
    data = _read(shared_data, "resnet8_mlperftiny_int8_qdq.onnx")
    graph = from_model(onnx.load_model_from_string(data), "int8")
    feeds = {"input": _blobs((16, 3, 32, 32), 0, 255)}
    (expected,) = run_model(data, feeds, optimise=False).values()
    (got,) = reference.run(graph, feeds).values()
    np.testing.assert_array_equal(run(graph, feeds, optimise=False)["015_softmax"], expected)
    # Ties rounded the other way move logits by a step or so, and so probabilities by a few hundredths.
    assert np.abs(got - expected).max() < 0.1
    assert np.abs(got - expected).mean() < 2e-3


def test_weights_and_names_of_a_file(shared_data: Path) -> None:
    graph = load(shared_data / "resnet20_cifar10.onnx")
    model = onnx.load(str(shared_data / "resnet20_cifar10.onnx"))
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    constants = {v.name: v for v in graph.constants()}
    assert {n for n, a in stored.items() if a.dtype == np.float32 and a.ndim} == set(constants)
    for name, value in constants.items():
        assert value.data is not None
        np.testing.assert_array_equal(value.data.numpy(), stored[name])
    assert [n.name for n in graph.nodes] == [n.name for n in model.graph.node]
    assert graph.name == "resnet20_cifar10"
    assert str(graph.node("conv1").loc) == "resnet20_cifar10.onnx: node 'conv1'"


def test_exported_file_is_a_fixed_point(shared_data: Path) -> None:
    """Import of the export has the same nodes, attributes and weights."""
    graph = load(shared_data / "resnet20_cifar10.onnx")
    from cnnir.backends.onnx import to_model

    again = from_model(to_model(graph), graph.name)
    assert [_summary(n) for n in again.nodes] == [_summary(n) for n in graph.nodes]


def _summary(node: Node) -> tuple[Any, ...]:
    inputs = tuple("" if v is None else v.producer.name if v.producer else v.name for v in node.inputs)
    return node.op.name, node.name, node.attrs, inputs, node.output.type


@pytest.fixture(scope="module")
def create() -> Callable[[str], Any]:
    """Networks of timm, or of torchvision with the prefix `tv.`, with random weights, in evaluation mode."""
    torch = pytest.importorskip("torch")
    library = torch.library.Library("torchvision", "FRAGMENT")
    # torchvision registers fakes for operators that its CPU build lacks beside this torch.
    for op in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # they are defined where the build fits
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    timm = pytest.importorskip("timm")
    torchvision = pytest.importorskip("torchvision")

    def make(name: str) -> Any:
        assert library is not None
        torch.manual_seed(0)
        if name.startswith("tv."):
            return getattr(torchvision.models, name[3:])(weights=None).eval()
        return timm.create_model(name).eval()

    return make


@pytest.mark.parametrize(
    ("name", "dynamic", "opset"),
    [
        ("resnet18", True, 13),
        ("resnet18", False, 9),
        ("mobilenetv3_small_100", True, 11),
        ("efficientnet_b0", True, 20),
        ("convnext_atto", True, 14),  # GELU and LayerNormalization spelt out
        ("convnext_atto", True, 20),
        ("tv.shufflenet_v2_x0_5", True, 18),
        ("tv.shufflenet_v2_x0_5", False, 18),
    ],
)
def test_pytorch_export(name: str, dynamic: bool, opset: int, create: Callable[[str], Any]) -> None:
    """The float64 reference agrees with the network in PyTorch."""
    torch = pytest.importorskip("torch")
    net = create(name)
    x = torch.randn(2, 3, 64, 64)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                net,
                (x,),
                file,
                dynamo=False,
                opset_version=opset,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "N"}} if dynamic else None,
            )
        except (ImportError, TypeError) as error:
            pytest.skip(f"this PyTorch does not export without further packages: {error}")
    graph: Graph = from_model(onnx.load_model_from_string(file.getvalue()), name)
    assert graph.inputs[0].type.shape == (BATCH if dynamic else 2, 3, 64, 64)
    with torch.no_grad():
        expected = net(x).numpy()
    (got,) = reference.run(graph, {"input": x.numpy()}).values()
    assert relative_rms(got, expected) < 1e-5
