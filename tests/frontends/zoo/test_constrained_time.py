"""He and Sun's networks against their complexity formula, counted here by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from cnnir.analysis import complexity, complexity_ratio, depth
from cnnir.errors import UnknownNameError
from cnnir.frontends import zoo
from cnnir.frontends.dsl import AdaptiveMaxPool, Tensor, trace
from cnnir.ir import Graph

MODELS = "abcdefghij"

# Layers as (n_{l-1}, s_l, n_l, m_l); stages 2 and 3 have maps of 36 and 18 pixels (caption of table 1), and a
# 2x2 convolution takes a pixel of them that the next one gives back.
FIRST = [(3, 7, 64, 109)]
LAYERS = {
    "a": [*FIRST, (64, 5, 128, 36), (128, 3, 256, 18), (256, 3, 256, 18), (256, 3, 256, 18)],
    "e": [
        *FIRST,
        (64, 2, 128, 35), (128, 2, 128, 36), (128, 2, 128, 35), (128, 2, 128, 36),
        (128, 2, 256, 17), *((256, 2, 256, m) for m in (18, 17, 18, 17, 18)),
    ],
    "j": [
        *FIRST,
        (64, 2, 128, 35), (128, 2, 128, 36), (128, 2, 128, 35), (128, 2, 128, 36),
        (128, 2, 256, 17), *((256, 2, 256, m) for m in (18, 17, 18)),
        (256, 2, 2304, 5), (2304, 2, 256, 6),
    ],
    "g": [*FIRST, (64, 5, 128, 36), *[(128, 3, 128, 18)] * 8, (128, 3, 256, 18)],
}  # fmt: skip

# Layers with weights, the three fully connected ones included.
DEPTHS = {"a": 8, "b": 11, "c": 9, "d": 12, "e": 14, "f": 11, "g": 14, "h": 11, "i": 14, "j": 14}


def named(model: str) -> Graph:
    return zoo.build(f"constrained_time_{model}")


@pytest.mark.parametrize("model", LAYERS)
def test_complexity_by_hand(model: str) -> None:
    expected = [before * kernel**2 * filters * pixels**2 for before, kernel, filters, pixels in LAYERS[model]]
    assert [layer.value for layer in complexity(named(model)).layers] == expected


def test_all_have_about_the_complexity_of_a() -> None:
    """What the paper sets out to do; F and G have that of A exactly."""
    base = named("a")
    ratios = {model: complexity_ratio(named(model), base) for model in MODELS}
    assert all(0.92 <= ratio <= 1.03 for ratio in ratios.values()), ratios
    assert ratios["f"] == ratios["g"] == 1
    for model in "bdej":
        assert complexity_ratio(named(f"{model}_delayed"), base) == pytest.approx(ratios[model], abs=0.005)
    growing = [complexity_ratio(named(f"d{i}"), base) for i in range(1, 7)]
    assert growing == sorted(growing)
    assert growing[0] > ratios["d"]


def test_depths() -> None:
    assert {model: depth(named(model)) for model in MODELS} == DEPTHS
    assert [depth(named(f"d{i}")) for i in range(1, 7)] == [13, 14, 15, 16, 17, 18]


def test_parameters(learnable: Callable[[Graph], int]) -> None:
    convolutions = sum(n * (before * s**2 + 1) for before, s, n, _ in LAYERS["j"])
    dense = 4096 * (256 * (36 + 9 + 4 + 1) + 1) + 4096 * 4097 + 1000 * 4097
    assert learnable(named("j")) == convolutions + dense
    assert learnable(named("j_delayed")) == learnable(named("j"))


def test_delayed_pooling_leaves_the_stride_to_the_next_convolution() -> None:
    graph = named("j_delayed")
    windows = [n for n in graph.nodes if n.name.startswith("stage") and n.op.name in ("Conv", "MaxPool")]
    strides = [(n.op.name, n.attrs.kernel_size[0], n.attrs.stride[0]) for n in windows]
    assert [s for s in strides if s[0] == "MaxPool"] == [("MaxPool", 3, 1), ("MaxPool", 2, 1), ("MaxPool", 3, 1)]
    assert [s for s in strides if s[2] > 1] == [("Conv", 7, 2), ("Conv", 2, 3), ("Conv", 2, 2), ("Conv", 2, 3)]
    sizes = [layer.output_size[0] for layer in complexity(graph).layers]
    assert sizes == [109, 36, 35, 36, 35, 17, 18, 17, 18, 5, 6]


@pytest.mark.parametrize(
    ("pixels", "nodes"), [(18, 1), (17, 1), (6, 0), (13, None), (5, None), (7, None), (64, None)]
)
def test_bins_are_those_of_the_paper(pixels: int, nodes: int | None) -> None:
    """Bin i of m has pixels floor(i n / m) to ceil((i + 1) n / m)."""
    from cnnir.backends import reference

    def pool(x: Tensor) -> Tensor:
        return (x >> AdaptiveMaxPool((6, 3))) * 1.0

    graph = trace(pool, {"input": (2, pixels, pixels)}, name="pool")
    assert nodes is None or sum(n.op.name != "Mul" for n in graph.nodes) == max(nodes, 1)
    x = np.random.default_rng(0).standard_normal((1, 2, pixels, pixels)).astype(np.float32)
    (got,) = reference.run(graph, {"input": x}).values()
    for i in range(6):
        for j in range(3):
            rows = slice(math.floor(i * pixels / 6), math.ceil((i + 1) * pixels / 6))
            columns = slice(math.floor(j * pixels / 3), math.ceil((j + 1) * pixels / 3))
            np.testing.assert_array_equal(got[..., i, j], x[..., rows, columns].max(axis=(2, 3)))


def test_unknown_model() -> None:
    with pytest.raises(UnknownNameError, match="Unknown model of the paper 'k'"):
        zoo.build("constrained_time_a", model="k")


# 17-pixel maps before the head at the full size; bins that no single pooling gives at half of it.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("constrained_time_d1", 224), ("constrained_time_j_delayed", 112)])
def test_deploys(name: str, size: int, deploys: Callable[..., None]) -> None:
    deploys(name, size, hidden=32, classes=10)
