"""Depth, activations and receptive fields against published figures."""

from __future__ import annotations

import pytest

from cnnir.analysis import activations, depth, receptive_field
from cnnir.frontends import zoo
from cnnir.frontends.dsl import Conv, PReLU, Tensor, add, trace

# The papers' numbers of weighted layers, which are in the names.
DEPTHS = {"vgg11": 11, "vgg16": 16, "vgg19_bn": 19, "alexnet": 8, "resnet18": 18, "resnet50": 50, "resnet152": 152}


@pytest.mark.parametrize("name", DEPTHS)
def test_depth(name: str) -> None:
    assert depth(zoo.build(name)) == DEPTHS[name]


def test_depth_is_that_of_the_longest_path_and_of_weights_only() -> None:
    def net(x: Tensor) -> Tensor:
        long = x >> Conv(4, 1) >> PReLU(per_channel=True) >> Conv(4, 1) >> Conv(4, 1)
        return add(long, x >> Conv(4, 1)) >> PReLU()

    assert depth(trace(net, {"input": (3, 8, 8)}, name="net")) == 3


# timm's results-imagenet table, "activations" in millions (convolutions and dense layers).
@pytest.mark.parametrize(("name", "millions"), [("resnet18", 2.48), ("resnet34", 3.74), ("resnet50", 11.11)])
def test_activations(name: str, millions: float) -> None:
    assert activations(zoo.build(name)) / 1e6 == pytest.approx(millions, abs=0.006)


# Araujo, Norris & Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019: the table of
# TF-slim's networks. Its ResNets stride where variant a does.
FIELDS = {
    "alexnet": 195,
    "vgg16": 212,
    "resnet50a": 483,
    "resnet101a": 1027,
    "resnet152a": 1507,
    "mobilenet_v1": 315,
    "inception_v3": 1311,
    "inception_resnet_v2": 3039,
}


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_field(name: str) -> None:
    assert receptive_field(zoo.build(name)) == (FIELDS[name], FIELDS[name])


def test_a_perceptron_sees_all() -> None:
    assert receptive_field(zoo.build("ciresan_mlp1")) == (29, 29)
