"""Transposed convolutions and unpooling as a user writes them, and as a user gets them wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.analysis.receptive_field import AxisField, receptive_fields
from cnnir.backends import reference
from cnnir.errors import CnnirError
from cnnir.frontends.dsl import (
    AvgPool,
    Conv,
    ConvTranspose,
    Tensor,
    architecture,
    max_pool_indices,
    max_unpool,
)
from cnnir.ir import Graph
from cnnir.ir.text import parse_graph, print_graph


def build(function: Any, *shape: int) -> Graph:
    return architecture(input=shape)(function).build()


def test_names_and_shapes() -> None:
    def net(x: Tensor) -> Tensor:
        y = x >> ConvTranspose(6, (4, 2), stride=2, padding=(1, 0), groups=2, name="up")
        return y >> ConvTranspose(5, 3, stride=2, padding=1, output_padding=1, bias=False)

    graph = build(net, 4, 5, 7)
    assert {v.name: v.type.shape for v in graph.parameters()} == {
        "up.weight": (4, 3, 4, 2),
        "up.bias": (6,),
        "convtranspose1.weight": (6, 5, 3, 3),
    }
    assert graph.outputs["logits"].type.shape == (-1, 5, 20, 28)


@pytest.mark.parametrize(("size", "ceil"), [((8, 6), False), ((9, 7), False), ((9, 7), True), ((3, 5), True)])
def test_unpooling_undoes_pooling_of_sparse_images(size: tuple[int, int], ceil: bool) -> None:
    """An image whose windows hold one positive pixel each comes back; two outputs survive the text form."""

    def net(x: Tensor) -> Tensor:
        maxima, indices = max_pool_indices(x, 2, ceil_mode=ceil)
        return max_unpool(maxima, indices, x.size)

    graph = build(net, 2, *size)
    assert [v.name for v in graph.nodes[0].outputs] == ["maxpool1.0", "maxpool1.1"]
    assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)
    image = np.zeros((2, 2, *size))
    image[:, :, 1 : None if ceil else 2 * (size[0] // 2) : 2, : None if ceil else 2 * (size[1] // 2) : 2] = 3
    np.testing.assert_array_equal(reference.run(graph, {"input": image})["logits"], image)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x >> ConvTranspose(6, 3, groups=3), "4 input channels do not divide into 3 groups."),
        (lambda x: x >> ConvTranspose(6, 3, stride=2, output_padding=2), "Expected an output_padding below"),
        (lambda x: x >> ConvTranspose(6, 2, padding=5), "leaves nothing of"),
        (lambda x: x >> ConvTranspose(6, 2, padding=-1), "Expected 'padding' to be one integer of at least 0"),
        (lambda x: max_unpool(*max_pool_indices(x, 2), (2, 2)), "Expected a 'size' of at least"),
        (lambda x: max_unpool(x, max_pool_indices(x, 2)[1], (8, 8)), "Expected indices of type"),
        (lambda x: max_pool_indices(3, 2)[0], "Expected a tensor as an input of 'max_pool_indices', got 3."),
    ],
)
def test_mistakes_are_reported_where_they_are(function: Any, message: str) -> None:
    with pytest.raises(CnnirError) as caught:
        build(function, 4, 8, 8)
    assert message in str(caught.value)
    assert "test_dsl_upsample.py:" in str(caught.value)


def test_receptive_field_of_what_goes_down_and_up_again() -> None:
    """Pixel o of the result sees what the pooled pixel o // 2 sees: two columns of two, widened by the 3x3."""

    def net(x: Tensor) -> Tensor:
        return x >> Conv(2, 3, padding=1) >> AvgPool(2) >> ConvTranspose(2, 2, stride=2)

    graph = build(net, 1, 16, 16)
    field = receptive_fields(graph)[graph.outputs["logits"].name]
    # Pixels 2i and 2i+1 see columns 2i-1 .. 2i+2: even shifts of one that cover both are a column wider.
    assert field.width == AxisField(5, 1, -2)
    # Seen in the gradient: a change there, and nowhere else, moves the pixel.
    image = np.random.default_rng(0).standard_normal((1, 1, 16, 16))
    base = reference.run(graph, {"input": image})["logits"]
    for o in (6, 7):
        seen = []
        for column in range(16):
            changed = image.copy()
            changed[..., column] += 1
            moved = reference.run(graph, {"input": changed})["logits"] - base
            if np.abs(moved[:, :, 6, o]).max() > 1e-9:
                seen.append(column)
        assert seen == [5, 6, 7, 8]
        assert o - 2 <= seen[0] and seen[-1] <= o - 2 + 4


def test_unpooling_keeps_the_stride_of_the_field() -> None:
    def net(x: Tensor) -> Tensor:
        maxima, indices = max_pool_indices(x, 2)
        return max_unpool(maxima >> Conv(1, 3, padding=1), indices, x.size)

    graph = build(net, 1, 16, 16)
    field = receptive_fields(graph)[graph.outputs["logits"].name]
    assert field.stride == (1, 1)
    assert field.size == (7, 7)
