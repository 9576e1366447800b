"""CaffeNet and the variants of the module study against the files that its authors published."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.errors import UnknownNameError
from cnnir.frontends import zoo
from cnnir.ir import Graph

VARIANTS = [m.name for m in zoo.models() if m.family == "caffenet"]

# Caffe's bvlc_reference_caffenet, and the layers of ducha-aiki/caffenet-benchmark: conv1..conv5 as there, and
# dense layers of 2304, 2048 and 2048 inputs.
CAFFENET = 60_965_224
SMALL = 34_944 + 307_456 + 885_120 + 663_936 + 442_624 + 2048 * 2305 + 2048 * 2049 + 1000 * 2049
NORMALISED = 2 * (96 + 256 + 384 + 384 + 256 + 2048 + 2048)
COLOUR = 10 * 4 + 3 * 11


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("caffenet", CAFFENET),
        ("caffenet128", SMALL),
        ("caffenet128_elu", SMALL),
        ("caffenet128_bn_before", SMALL + NORMALISED),
        ("caffenet128_bn_after", SMALL + NORMALISED),
        ("caffenet128_colour_vlrelu", SMALL + COLOUR),
        ("caffenet128_maxavg", SMALL),
        ("caffenet128_fcconv", SMALL),
        ("caffenet128_all", SMALL + COLOUR),
    ],
)
def test_parameters(name: str, params: int, learnable: Callable[[Graph], int]) -> None:
    assert learnable(zoo.build(name)) == params


def test_macs(products: Callable[[Graph], int]) -> None:
    # The convolutions and dense layers are AlexNet's: 724 M (Sze et al. 2017, arXiv 1703.09039, table II).
    assert products(zoo.build("caffenet")) / 1e6 == pytest.approx(724, abs=0.5)


@pytest.mark.parametrize("name", VARIANTS)
def test_maps_of_128_pixels(name: str) -> None:
    # "Top shape" in the logs of the benchmark: 30, 15, 15, 7, ..., 3.
    if name == "caffenet":
        return
    graph = zoo.build(name)
    convolutions = [n.output.type.shape[2:] for n in graph.nodes if n.op.name == "Conv" and n.name[:4] == "conv"]
    assert convolutions == [(30, 30), (15, 15), (7, 7), (7, 7), (7, 7)]
    (last,) = [n for n in graph.nodes if n.name == "fc6"]
    assert last.inputs[0] is not None
    assert last.inputs[0].type.shape[1:] in ((256 * 9,), (256, 3, 3))


def operators(name: str) -> list[str]:
    return [n.op.name for n in zoo.build(name, dropout=0.5).nodes]


def test_what_each_variant_changes() -> None:
    plain = operators("caffenet128_no_lrn")
    assert operators("caffenet128").count("LRN") == 2
    assert "LRN" not in plain
    assert [o for o in operators("caffenet128") if o != "LRN"] == plain
    assert [o.replace("Elu", "Relu") for o in operators("caffenet128_elu")] == plain
    assert operators("caffenet128_bn_before")[:4] == ["Conv", "BatchNormalization", "Relu", "MaxPool"]
    assert operators("caffenet128_bn_after")[:4] == ["Conv", "Relu", "BatchNormalization", "MaxPool"]
    assert operators("caffenet128_colour_elu")[:4] == ["Conv", "Elu", "Conv", "Elu"]
    assert operators("caffenet128_colour_vlrelu")[:4] == ["Conv", "LeakyRelu", "Conv", "LeakyRelu"]
    assert operators("caffenet128_maxavg").count("AveragePool") == 3
    assert operators("caffenet128_fcconv")[-3:] == ["Conv", "GlobalAveragePool", "Flatten"]


def test_dense_layers_as_convolutions_average_their_predictions() -> None:
    wide = zoo.build("caffenet128_fcconv", hidden=16, classes=4)
    assert [n.output.type.shape[2:] for n in wide.nodes if n.name == "fc8"] == [(3, 3)]
    image = np.random.default_rng(0).standard_normal((1, 3, 128, 128)).astype(np.float32)
    got = reference.run(wide, {"input": image})["logits"]
    before = next(n for n in wide.nodes if n.name == "fc8").output
    wide.outputs["maps"] = before
    maps = reference.run(wide, {"input": image})["maps"]
    np.testing.assert_allclose(got, maps.mean(axis=(2, 3)), rtol=1e-12)


def test_mistakes_are_named() -> None:
    with pytest.raises(UnknownNameError, match="Unknown activation 'rely'"):
        zoo.build("caffenet128", act="rely")
    with pytest.raises(UnknownNameError, match="Unknown place of the batch normalisation 'behind'"):
        zoo.build("caffenet128", norm="behind")


@pytest.mark.parametrize("name", ["caffenet128_all", "caffenet128_bn_after"])
def test_deploys(name: str, deploys: Callable[..., None]) -> None:
    deploys(name, 67, hidden=32, classes=10)
