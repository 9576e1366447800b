"""What a user may name as a network, and what is said when there is no such thing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cnnir import frontends
from cnnir.errors import CnnirError, UnknownNameError
from cnnir.frontends import zoo
from cnnir.frontends.source import load
from cnnir.ir.text import save_graph

TINY = '''\
from dataclasses import dataclass

from cnnir.frontends.dsl import *
from cnnir.frontends.dsl import Tensor


@dataclass
class Width:
    value: int = 4


@architecture(input=(3, 16, 16), paper="none", labels="digits")
def tinynet(x: Tensor, classes: int = 10) -> Tensor:
    """A tiny network."""
    x = x >> Conv(Width().value, 3, name="conv") >> ReLU()
    return x >> GlobalAvgPool() >> Flatten() >> Dense(classes, name="fc")


def plain(x):
    return x >> Conv(2, 3)


NUMBER = 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "mynet.py") -> None:
    (folder / name).write_text(text)


def test_zoo_name() -> None:
    source = load("resnet18", seed=3, options={"classes": 10})
    assert (source.name, source.origin) == ("resnet18", "resnet18")
    assert source.random_weights
    assert source.weights_from == "random, seed 3"
    assert source.info is not None
    assert source.info.family == "resnet"
    assert source.graph.outputs["logits"].type.shape == (-1, 10)


def test_frontends_load_gives_the_graph() -> None:
    assert frontends.load("lenet5").name == "lenet5"


def test_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown model 'resnet5od'\. Did you mean 'resnet50d'\?"):
        load("resnet5od")


def test_zoo_with_weights(tmp_path: Path) -> None:
    shapes = {v.name: v.type.shape for v in zoo.build("lenet5").constants()}
    np.savez(tmp_path / "w.npz", **{n: np.ones(s, np.float32) for n, s in shapes.items()})
    source = load("lenet5", weights=tmp_path / "w.npz")
    assert not source.random_weights
    assert source.weights_from == str(tmp_path / "w.npz")
    assert all((v.data.numpy() == 1).all() for v in source.graph.constants() if v.data is not None)


def test_file_and_function(folder: Path) -> None:
    write(folder, TINY)
    source = load("mynet.py:tinynet", options={"classes": 7})
    assert source.name == "tinynet"
    assert source.info is not None
    assert (source.info.doc, source.info.labels) == ("A tiny network.", "digits")
    assert source.graph.outputs["logits"].type.shape == (-1, 7)
    assert str(source.graph.nodes[0].loc) == "mynet.py:15"
    assert load("mynet.py").name == "tinynet"


def test_a_plain_function_needs_an_input_shape(folder: Path) -> None:
    write(folder, TINY)
    assert load("mynet.py:plain", input_shape=(3, 8, 8)).graph.outputs["logits"].type.shape == (-1, 2, 6, 6)
    with pytest.raises(CnnirError, match="The input shape of 'plain' is not known"):
        load("mynet.py:plain")


def test_nothing_of_the_file_stays_behind(folder: Path) -> None:
    write(folder, "WIDTH = 3\n", "neighbour.py")
    write(folder, "import neighbour\nfrom cnnir.frontends.dsl import *\n"
                  "def f(x):\n    import neighbour\n    return x >> Conv(neighbour.WIDTH, 1)\n")  # fmt: skip
    path = list(sys.path)
    assert load("mynet.py:f", input_shape=(1, 4, 4)).graph.outputs["logits"].type.shape == (-1, 3, 4, 4)
    write(folder, "WIDTH = 5555\n", "neighbour.py")
    assert load("mynet.py:f", input_shape=(1, 4, 4)).graph.outputs["logits"].type.shape == (-1, 5555, 4, 4)
    assert "neighbour" not in sys.modules
    assert not [m for m in sys.modules if m.startswith("user_")]
    assert sys.path == path
    assert not (folder / "mynet.pyc").exists()


MISTAKES = [
    ("def f(x:\n    pass\n", "mynet.py:1: This is not Python: "),
    ("import nonexistent_module\n", "mynet.py:1: ModuleNotFoundError: No module named 'nonexistent_module'."),
    ("\nx = 1 / 0\n", "mynet.py:2: ZeroDivisionError: division by zero."),
    ("import json\n\njson.loads('{')\n", "mynet.py:3: JSONDecodeError: "),
    ("import sys\nsys.exit(3)\n", "mynet.py: The file ends the program when it is imported."),
    ("def f(x):\n    y = 1\n    return x >> Covn(3, 3)\n", "mynet.py:3: NameError: name 'Covn' is not defined."),
    ("def f(x):\n    x >> 3\n", "mynet.py:2: Expected a layer on the right of '>>', got 3."),
    (
        "from cnnir.frontends.dsl import *\ndef f(x):\n    return x >> Conv(3, 9)\n",
        "mynet.py:3: The window does not fit",
    ),
    ("def g(x):\n    return x\n", "Unknown function 'f'. Known: g."),
    ("f = 3\n", "'f' is neither an '@architecture' nor a function. It is 3."),
    ("def f(x):\n    pass\n", "mynet.py:1: 'f' returned nothing, expected a tensor."),
    ("def f(x, y):\n    return x\n", "mynet.py:1: 'f' does not fit its 1 inputs and its options: missing"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes_in_a_file(text: str, message: str, folder: Path) -> None:
    write(folder, text)
    with pytest.raises(CnnirError) as caught:
        load("mynet.py:f", input_shape=(3, 8, 8))
    assert message in str(caught.value)
    assert str(folder) not in str(caught.value)


def test_which_architecture_of_a_file(folder: Path) -> None:
    write(folder, TINY.replace("def plain", "@architecture(input=(3, 9, 9))\ndef plain"))
    with pytest.raises(
        CnnirError, match=r"has 2 architectures\. Write 'mynet\.py:NAME' with one of: tinynet, plain\."
    ):
        load("mynet.py")
    write(folder, "")
    with pytest.raises(CnnirError, match="has no architectures"):
        load("mynet.py")


def test_variants_of_a_file(folder: Path) -> None:
    variants = "variants={'narrow': {'classes': 2}, 'wide': {'classes': 20}}, "
    write(folder, TINY.replace("@architecture(", f"@architecture({variants}"))
    assert load("mynet.py:wide").graph.outputs["logits"].type.shape == (-1, 20)
    with pytest.raises(CnnirError, match=r"has several variants\. Choose one: narrow, wide\."):
        load("mynet.py:tinynet")


def test_weights_of_training_only_heads_are_passed_over(folder: Path) -> None:
    write(folder, "from cnnir.frontends.dsl import *\n@architecture(input=(3, 4, 4))\ndef f(x):\n"
                  "    x = x >> Conv(2, 1, bias=False, name='a')\n"
                  "    return x >> ReLU(), training_only(x >> Conv(1, 1, bias=False, name='aux'))\n")  # fmt: skip
    arrays = {"a.weight": np.ones((2, 3, 1, 1), np.float32), "aux.weight": np.ones((1, 2, 1, 1), np.float32)}
    np.savez(folder / "w.npz", **arrays)
    assert [v.name for v in load("mynet.py:f", weights=Path("w.npz")).graph.constants()] == ["a.weight"]
    np.savez(folder / "w.npz", **arrays, odd=np.ones(1, np.float32))
    with pytest.raises(CnnirError, match="Not in the network: 'odd'"):
        load("mynet.py:f", weights=Path("w.npz"))


def test_such_heads_need_not_fit_the_image(folder: Path) -> None:
    write(folder, "from cnnir.frontends.dsl import *\n@architecture(input=(3, 4, 4))\ndef f(x):\n"
                  "    x = x >> Conv(2, 1, bias=False, name='a')\n"
                  "    return x >> ReLU(), training_only(lambda: x >> Conv(1, 4, name='aux'))\n")  # fmt: skip
    arrays = {"a.weight": np.ones((2, 3, 1, 1)), "aux.weight": np.ones((1, 2, 4, 4)), "aux.bias": np.ones(1)}
    np.savez(folder / "w.npz", **arrays)
    graph = load("mynet.py:f", weights=Path("w.npz"), input_shape=(3, 2, 2)).graph
    assert [v.name for v in graph.constants()] == ["a.weight"]


@pytest.mark.parametrize(
    "source", ["none.onnx", "none.cnnir", "none.py:f", "none.pt", "folder/none", "resnet50d.onxx"]
)
def test_files_that_do_not_exist(source: str, folder: Path) -> None:
    with pytest.raises(CnnirError, match="does not exist"):
        load(source)


def test_a_file_of_no_known_kind(folder: Path) -> None:
    (folder / "net.h5").write_bytes(b"")
    with pytest.raises(CnnirError, match="is not a kind of network file that is known"):
        load("net.h5")


def test_onnx_file(shared_data: Path) -> None:
    source = load(str(shared_data / "resnet20_cifar10.onnx"))
    assert not source.random_weights
    assert source.info is None
    with pytest.raises(CnnirError, match="takes no options, got 'classes'"):
        load(str(shared_data / "resnet20_cifar10.onnx"), options={"classes": 3})


def test_saved_graph(folder: Path) -> None:
    graph = zoo.build("lenet5")
    save_graph(graph, folder / "net.cnnir")
    source = load("net.cnnir")
    assert not source.random_weights
    first = {v.name: v.data.numpy() for v in graph.constants() if v.data is not None}
    second = {v.name: v.data.numpy() for v in source.graph.constants() if v.data is not None}
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)
    assert [str(n.loc) for n in source.graph.nodes] == [str(n.loc) for n in graph.nodes]
