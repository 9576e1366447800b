"""The built-in architectures against figures from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnir.analysis import graph_cost
from cnnir.backends import reference
from cnnir.errors import CnnirError, UnknownNameError
from cnnir.frontends import zoo
from cnnir.ir import Graph

# Learnable parameters: torchvision's documentation of its pretrained models (resnet18..152, alexnet), timm's table
# of results (resnet50d), and for LeNet-5 the sum over the paper's layers: 156 + 2416 + 48120 + 10164 + 850.
PARAMETERS = {
    "alexnet": 61_100_840,
    "lenet5": 61_706,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50d": 25_576_264,
}

# Section II.B of the paper: C1, S2, C3, S4, C5, F6; together the 60,000 trainable parameters that it states.
LENET_1998 = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}


def learnable(graph: Graph) -> int:
    return sum(math.prod(v.type.shape) for v in graph.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    assert learnable(zoo.build(name)) == PARAMETERS[name]


def test_lenet_of_the_paper_has_its_trainable_parameters_layer_by_layer() -> None:
    graph = zoo.build("lenet5_1998")
    counted = dict.fromkeys(LENET_1998, 0)
    for value in graph.parameters():
        layer = value.name.partition(".")[0]
        if layer in counted:
            counted[layer] += math.prod(value.type.shape)
    assert counted == LENET_1998
    assert sum(counted.values()) == 60_000


# GMACs at 224x224 of convolutions and dense layers: torchvision's documentation of its pretrained models.
MACS = {"alexnet": 0.71, "resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.8}


@pytest.mark.parametrize("name", MACS)
def test_macs_of_products(name: str) -> None:
    nodes = graph_cost(zoo.build(name)).nodes
    assert sum(n.macs for n in nodes if n.op in ("Conv", "Gemm")) / 1e9 == pytest.approx(MACS[name], abs=0.006)


# timm's table of results; its counter (fvcore) counts two for every element that is normalised, as ours does.
@pytest.mark.parametrize(("name", "published"), [("resnet18", 1.82), ("resnet50", 4.11), ("resnet50d", 4.35)])
def test_macs(name: str, published: float) -> None:
    assert graph_cost(zoo.build(name)).total.macs / 1e9 == pytest.approx(published, abs=0.006)


def test_every_model_verifies_and_has_one_image_and_logits() -> None:
    for model in zoo.models():
        graph = zoo.build(model.name)
        graph.verify()
        assert graph.name == model.name
        assert [v.name for v in graph.inputs] == list(model.inputs)
        assert model.name == "siamese_oneshot" or list(model.inputs) == ["input"]
        assert graph.inputs[0].type.shape == (-1, *model.input_shape)
        assert next(iter(graph.outputs)) == zoo.find(model.name).output
        assert model.paper
        assert model.doc
        assert all(node.loc is not None and node.loc.line > 0 for node in graph.nodes)


def test_models_are_unique_and_complete() -> None:
    names = [m.name for m in zoo.models()]
    assert len(names) == len(set(names))
    assert {f"resnet{d}{v}" for d in (18, 34, 50, 101, 152) for v in ("", "a", "b", "c", "d")} <= set(names)


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {v.name: v.type.shape for v in graph.constants()}


def strides(graph: Graph) -> dict[str, tuple[int, int]]:
    return {n.name: n.attrs.stride for n in graph.nodes if n.op.name == "Conv"}


def test_variants_differ_where_the_paper_says() -> None:
    plain, a, b, c, d = (zoo.build(f"resnet50{v}") for v in ("", "a", "b", "c", "d"))
    assert strides(plain) == strides(b)
    assert strides(a)["layer2.0.conv1"] == (2, 2)
    assert strides(a)["layer2.0.conv2"] == (1, 1)
    assert strides(b)["layer2.0.conv1"] == (1, 1)
    assert strides(b)["layer2.0.conv2"] == (2, 2)
    assert shapes(a) == shapes(b)
    assert shapes(c)["conv1.6.weight"] == (64, 32, 3, 3)
    assert strides(c)["layer2.0.downsample.0"] == (2, 2)
    assert strides(d)["layer2.0.downsample.1"] == (1, 1)
    assert shapes(d)["layer1.0.downsample.1.weight"] == (256, 64, 1, 1)
    for graph in (zoo.build("resnet18a"), zoo.build("resnet18b")):
        assert strides(graph) == strides(zoo.build("resnet18"))


def test_options_and_input_shape() -> None:
    graph = zoo.build("resnet18", classes=10, input_shape=(1, 65, 33))
    assert graph.inputs[0].type.shape == (-1, 1, 65, 33)
    assert graph.outputs["logits"].type.shape == (-1, 10)
    assert shapes(graph)["conv1.weight"] == (64, 1, 7, 7)


def test_zero_init_last_makes_blocks_identities() -> None:
    graph = zoo.build("resnet18", zero_init_last=True)
    gammas = {v.name: v for v in graph.constants()}
    data = gammas["layer1.0.bn2.weight"].data
    assert data is not None
    assert not data.numpy().any()


def test_unknown_model_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown model 'resnet51d'\. Did you mean 'resnet5"):
        zoo.build("resnet51d")


def test_unknown_option_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown option of 'resnet18' 'clases'\. Did you mean 'classes'\?"):
        zoo.build("resnet18", clases=10)


@pytest.mark.parametrize("options", [{"depth": 51}, {"variant": "e"}, {"variant": "cd"}])
def test_a_resnet_that_does_not_exist(options: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError, match="Unknown ResNet"):
        zoo.build("resnet18", **options)


def test_a_size_that_becomes_negative_is_reported_in_the_architecture() -> None:
    with pytest.raises(CnnirError, match=r"alexnet.py:\d+: The window does not fit"):
        zoo.build("alexnet", input_shape=(3, 32, 32))


def test_lenet_runs() -> None:
    graph = zoo.build("lenet5_1998")
    image = np.random.default_rng(0).standard_normal((2, 1, 32, 32))
    logits = reference.run(graph, {"input": image})["logits"]
    assert logits.shape == (2, 10)
    assert np.isfinite(logits).all()
    assert logits.std() > 1e-3
