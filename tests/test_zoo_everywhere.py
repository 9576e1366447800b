"""Every built-in network at a small size: text form, ONNX Runtime and x86 code agree with the float64 reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnir import runtime
from cnnir.backends import onnx as onnx_backend
from cnnir.backends import reference
from cnnir.compiler import Options, compile_source, seeded_inputs
from cnnir.errors import CnnirError
from cnnir.frontends import zoo
from cnnir.frontends.source import Source, load
from cnnir.ir.equality import difference
from cnnir.ir.text import load_graph, save_graph
from cnnir.validate.numeric import compare

pytestmark = pytest.mark.slow

SIDES = (33, 64, 75, 96, 128, 160, 192, 224)


def small(name: str) -> Source:
    """The network at the smallest of `SIDES` that it accepts, or at its own size."""
    (channels, *own) = zoo.find(name).models()[0].input_shape
    for side in SIDES:
        if len(own) == 2 and side < min(own):
            try:
                return load(name, input_shape=(channels, side, side))
            except CnnirError:
                continue
    return load(name)


@pytest.mark.parametrize("name", list(zoo.names()))
def test_every_backend_agrees(name: str, tmp_path: Path) -> None:
    source = small(name)
    graph = source.graph
    graph.verify()
    save_graph(graph, tmp_path / "graph.cnnir")
    assert difference(load_graph(tmp_path / "graph.cnnir"), graph) is None
    feeds = seeded_inputs(graph, 1)
    expected = reference.run(graph, feeds)
    assert compare(onnx_backend.run(graph, feeds), expected).relative_rms <= 1e-5
    artifact = tmp_path / f"{name}.cnnmod"
    compile_source(source, artifact, Options())
    assert compare(runtime.load(artifact)(**feeds), expected).relative_rms <= 1e-5
