"""The real engines, in their own processes, on a small network: they agree with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnnir import artifact
from cnnir.artifact import Manifest, OnnxExecution, TensorSpec
from cnnir.bench.engine import LoadRequest
from cnnir.bench.engines import OnnxRuntimeEngine, make_engine
from cnnir.bench.latency import Plan, bench
from cnnir.bench.machine import available_cores, cpu_model
from cnnir.bench.peers import parse_peers
from cnnir.errors import CnnirError

onnx = pytest.importorskip("onnx")

QUICK = Plan(rounds=1, calls=2, warmup=1, turn_warmup=0, gap=0.0, threads=1, batch=2, timeout=120)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Convolution, ReLU, global pool, flatten, dense: input `[N, 3, 8, 8]`, output `[N, 5]`."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)),
        "b": rng.standard_normal(4),
        "dense": rng.standard_normal((5, 4)),
        "bias": rng.standard_normal(5),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "dense", "bias"], ["y"], name="gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("peer", ["onnxruntime", "openvino", "openvino:bf16", "torch"])
def test_a_peer_runs_the_same_network(network: Path, peer: str) -> None:
    (parsed,) = parse_peers(peer)
    pytest.importorskip(parsed.name)
    result = bench(network, against=[parsed], onnx=network, plan=QUICK)
    (theirs,) = result.against
    assert (theirs.name, theirs.precision, theirs.agrees) == (parsed.name, parsed.precision, True)
    assert theirs.version.split(".")[0].isdecimal() and theirs.summary.min > 0
    assert (result.batch, result.threads) == (2, 1)


@pytest.mark.slow
def test_slow_peers_run_the_same_network(network: Path) -> None:
    pytest.importorskip("torch")
    peers = parse_peers("torch:bf16,inductor,inductor:bf16")
    result = bench(network, against=peers, onnx=network, plan=QUICK)
    assert [peer.agrees for peer in result.against] == [True] * 3


def test_an_artifact_beside_its_own_onnx_file(network: Path, tmp_path: Path) -> None:
    manifest = Manifest(
        model="small",
        batch=2,
        inputs=(TensorSpec("input", "float32", (2, 3, 8, 8)),),
        outputs=(TensorSpec("y", "float32", (2, 5)),),
        execution=OnnxExecution("model.onnx"),
        target="onnx",
    )
    path = tmp_path / "small.cnnmod"
    artifact.write(path, manifest, {"model.onnx": network.read_bytes()})
    result = bench(path, against=parse_peers("onnxruntime"), onnx=network, plan=QUICK)
    assert (result.precision, result.batch, result.against[0].agrees) == ("fp32", 2, True)


def test_the_batch_size_reaches_onnxruntime(network: Path) -> None:
    engine = OnnxRuntimeEngine(LoadRequest("onnxruntime", network, "fp32", 1))
    assert [(s.name, s.shape, s.dtype) for s in engine.inputs] == [("input", (-1, 3, 8, 8), "float32")]
    engine.prepare([np.zeros((3, 3, 8, 8), np.float32)])
    engine.run()
    assert engine.outputs()["y"].shape == (3, 5)


def test_files_that_do_not_load_are_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(CnnirError, match=r"^'cnnir' failed: .*") as caught:
        bench(broken, plan=QUICK)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    with pytest.raises(CnnirError, match="needs the network as an ONNX file"):
        bench(broken, against=parse_peers("onnxruntime"), plan=QUICK)
    with pytest.raises(CnnirError, match="Unknown engine 'tensort'"):
        make_engine(LoadRequest("tensort", broken, "fp32", 1))


def test_cores_respect_a_quota(tmp_path: Path) -> None:
    free = available_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert available_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == free >= 1


def test_cpu_model(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
    assert cpu_model(tmp_path / "gone")
