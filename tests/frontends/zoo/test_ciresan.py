"""Ciresan's networks against the papers' figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.frontends.dsl import Conv, Dense, Flatten, MaxPool, Tensor, trace
from cnnir.ir import Graph

# Table 1 of arXiv 1003.0358: millions of weights.
WEIGHTS = {1: 1.34, 2: 3.26, 3: 6.69, 4: 12.11, 5: 8.86}


@pytest.mark.parametrize("number", WEIGHTS)
def test_weights_of_the_perceptrons(number: int, learnable: Callable[[Graph], int]) -> None:
    graph = zoo.build(f"ciresan_mlp{number}")
    assert learnable(graph) / 1e6 == pytest.approx(WEIGHTS[number], abs=0.01)
    assert graph.outputs["logits"].type.shape == (-1, 10)


def test_number_4_layer_by_layer() -> None:
    weights = [v.type.shape for v in zoo.build("ciresan_mlp4").constants() if v.name.endswith("weight")]
    sizes = (841, 2500, 2000, 1500, 1000, 500, 10)
    assert weights == [(o, i) for i, o in itertools.pairwise(sizes)]


def test_a_column_of_the_paper_s_notation() -> None:
    """1x29x29-20C4-MP2-40C5-MP3-150N-10N."""
    column = zoo.build("ciresan_dnn_mnist")

    def plain(x: Tensor) -> Tensor:
        x = x >> Conv(20, 4) >> MaxPool(2) >> Conv(40, 5) >> MaxPool(3)
        assert x.shape == (-1, 40, 3, 3)
        return x >> Flatten() >> Dense(150) >> Dense(10)

    expected = {v.type.shape for v in trace(plain, {"input": (1, 29, 29)}, name="plain").parameters()}
    assert {v.type.shape for v in column.parameters()} == expected


def test_columns_have_weights_of_their_own_and_are_averaged(learnable: Callable[[Graph], int]) -> None:
    one, five = zoo.build("ciresan_dnn_mnist"), zoo.build("ciresan_mcdnn_mnist")
    assert learnable(five) == 5 * learnable(one)
    image = np.random.default_rng(0).standard_normal((2, 1, 29, 29)).astype(np.float32)
    together = reference.run(five, {"input": image})["probabilities"]
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-6)  # 1/5 is a float32
    # The first column is drawn alike in both; the mean over all differs from it.
    alone = reference.run(one, {"input": image})["probabilities"]
    assert np.abs(alone - together).max() > 1e-4


def test_perceptron_deploys(deploys: Callable[..., None]) -> None:
    deploys("ciresan_mlp1", 29, channels=1)


def test_columns_deploy(deploys: Callable[..., None]) -> None:
    deploys("ciresan_mcdnn_mnist", 29, channels=1, output="probabilities")
