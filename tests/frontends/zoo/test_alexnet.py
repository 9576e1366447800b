"""AlexNet of 2012; the one-tower form is compared with torchvision's beside the residual networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cnnir.frontends import zoo
from cnnir.ir import Graph


def test_size(learnable: Callable[[Graph], int], products: Callable[[Graph], int]) -> None:
    graph = zoo.build("alexnet_2012")
    # The layers of Caffe's bvlc_alexnet: 34,944 + 307,456 + 885,120 + 663,936 + 442,624 in the convolutions.
    assert learnable(graph) == 60_965_224
    # Sze et al. 2017, Efficient Processing of Deep Neural Networks, arXiv 1703.09039, table II: 724 M.
    assert products(graph) / 1e6 == pytest.approx(724, abs=0.5)


def test_the_paper_s_maps() -> None:
    sizes = [n.output.type.shape[1:] for n in zoo.build("alexnet_2012").nodes if n.op.name in ("Conv", "MaxPool")]
    # Figure 2, both towers together.
    assert sizes == [
        (96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13),
        (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip


def test_normalisation_is_the_paper_s_formula() -> None:
    graph = zoo.build("alexnet_2012", input_shape=(3, 67, 67), hidden=8, classes=4)
    (first, _) = [n for n in graph.nodes if n.op.name == "LRN"]
    x = np.random.default_rng(0).standard_normal((1, 96, 2, 2)) * 30
    (got,) = first.op.reference(first.attrs, (x,))
    for i in (0, 1, 50, 95):
        around = x[:, max(0, i - 2) : i + 3]
        expected = x[:, i] / (2 + 1e-4 * (around**2).sum(axis=1)) ** 0.75
        np.testing.assert_allclose(got[:, i], expected, rtol=1e-12)


def test_towers_do_not_see_each_other_before_the_third_convolution() -> None:
    graph = zoo.build("alexnet_2012")
    groups = {n.name: n.attrs.groups for n in graph.nodes if n.op.name == "Conv"}
    assert groups == {"conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2}


def test_initial_biases() -> None:
    graph = zoo.build("alexnet_2012", hidden=8, classes=4)
    ones = {v.name for v in graph.constants() if v.name.endswith("bias") and v.data and v.data.numpy().all()}
    # Section 5: the second, fourth and fifth convolution and the hidden dense layers.
    assert ones == {f"{layer}.bias" for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")}


def test_deploys(deploys: Callable[..., None]) -> None:
    deploys("alexnet_2012", 67, hidden=32, classes=10)
