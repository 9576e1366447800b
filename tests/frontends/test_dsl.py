"""What the language means: names, scopes, sharing, shapes, padding, outputs, initialisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.errors import CnnirError
from cnnir.frontends.dsl import (
    ZEROS,
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    Constant,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Fan,
    Flatten,
    GlobalAvgPool,
    HeNormal,
    Identity,
    MaxPool,
    Pad,
    PReLU,
    ReLU,
    Reshape,
    Softmax,
    Stack,
    Tensor,
    TorchUniform,
    XavierUniform,
    add,
    architecture,
    block,
    concat,
    repeat,
    scope,
    select,
    shorthand,
    squeeze_excite,
    trace,
    training_only,
)
from cnnir.ir import Array, Graph

IMAGE = (3, 16, 16)


def graph_of(function: Callable[..., object], shape: tuple[int, ...] = IMAGE, **options: object) -> Graph:
    graph = trace(function, {"input": shape}, name="net", **options)
    graph.verify()
    return graph


def constants(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {v.name: v.type.shape for v in graph.constants()}


def data(graph: Graph, name: str) -> Array:
    (value,) = [v for v in graph.constants() if v.name == name]
    assert value.data is not None
    return value.data.numpy()


def output_shape(graph: Graph) -> tuple[int, ...]:
    return graph.outputs["logits"].type.shape


def run(graph: Graph, x: Array) -> Array:
    return reference.run(graph, {"input": x})["logits"]


def image(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


# -- names


def test_stack_numbers_its_children_as_torch_sequential_does() -> None:
    graph = graph_of(lambda x: x >> Stack("features", Conv(4, 3), ReLU(), Conv(8, 3), BatchNorm()))
    assert constants(graph) == {
        "features.0.weight": (4, 3, 3, 3),
        "features.0.bias": (4,),
        "features.2.weight": (8, 4, 3, 3),
        "features.2.bias": (8,),
        "features.3.weight": (8,),
        "features.3.bias": (8,),
        "features.3.running_mean": (8,),
        "features.3.running_var": (8,),
    }
    assert [n.name for n in graph.nodes] == [f"features.{i}" for i in range(4)]


def test_chains_count_layer_by_layer_in_a_stack_and_stacks_nest() -> None:
    net = Stack("a", Conv(4, 1, bias=False) >> ReLU(), Stack(Conv(5, 1, bias=False), Conv(6, 1, bias=False)))
    assert list(constants(graph_of(lambda x: x >> net))) == ["a.0.weight", "a.2.0.weight", "a.2.1.weight"]


def test_names_compose_with_scopes_and_may_have_parts() -> None:
    def net(x: Tensor) -> Tensor:
        with scope("layer1.0"):
            x >>= Conv(4, 1, bias=False, name="conv1")
            with scope("downsample"):
                x >>= Conv(4, 1, bias=False, name="0")
        with scope("layer1"):
            x >>= Conv(4, 1, bias=False, name="1.conv1")
        return x

    expected = ["layer1.0.conv1.weight", "layer1.0.downsample.0.weight", "layer1.1.conv1.weight"]
    assert list(constants(graph_of(net))) == expected


def test_unnamed_layers_and_operations_get_their_kind_and_a_number() -> None:
    def net(x: Tensor) -> Tensor:
        a = x >> Conv(3, 1) >> BatchNorm()
        b = x >> Conv(3, 1) >> BatchNorm()
        return (a + b) * a

    names = ["conv1", "batchnorm1", "conv2", "batchnorm2", "add1", "mul1"]
    assert [n.name for n in graph_of(net).nodes] == names


def test_named_gives_a_layer_a_name() -> None:
    assert list(constants(graph_of(lambda x: x >> Conv(2, 1, bias=False).named("stem")))) == ["stem.weight"]


def test_blocks_are_scopes_and_repeat_makes_new_weights() -> None:
    @block
    def residual(x: Tensor, width: int, last: bool = False) -> Tensor:
        return x + (x >> Conv(width, 3, padding=1, bias=False, name="conv") >> BatchNorm(name="bn"))

    stack = Stack("layer1", repeat(2, residual, 3))
    graph = graph_of(lambda x: x >> stack >> residual(3) >> residual(3, last=True))
    weights = [n for n in constants(graph) if n.endswith("conv.weight")]
    assert weights == [f"{b}.conv.weight" for b in ("layer1.0", "layer1.1", "residual1", "residual2")]


def test_repeat_may_be_zero_times() -> None:
    graph = graph_of(lambda x: x >> Stack("s", Conv(2, 1, bias=False), repeat(0, Conv, 64, 3)) >> repeat(0, ReLU))
    assert list(constants(graph)) == ["s.0.weight"]


# -- sharing


def test_a_layer_used_twice_shares_its_weights() -> None:
    def net(left: Tensor, right: Tensor) -> Tensor:
        tower = Stack("tower", Conv(4, 3), ReLU(), Flatten(), Dense(5))
        return (left >> tower) - (right >> tower)

    graph = trace(net, {"left": IMAGE, "right": IMAGE}, name="siamese")
    graph.verify()
    assert list(constants(graph)) == ["tower.0.weight", "tower.0.bias", "tower.3.weight", "tower.3.bias"]
    convolutions = [n for n in graph.nodes if n.op.name == "Conv"]
    assert convolutions[0].inputs[1] is convolutions[1].inputs[1]
    x = image(2, *IMAGE)
    assert not reference.run(graph, {"left": x, "right": x})["logits"].any()


def test_a_block_used_twice_shares_everything_in_it() -> None:
    @block
    def body(x: Tensor) -> Tensor:
        with scope("inner"):
            x >>= Conv(3, 3, padding=1)
        return x >> ReLU() >> Stack("rest", Conv(3, 1), squeeze_excite(2))

    def net(x: Tensor) -> Tensor:
        b = body()
        return (x >> b) + (x * 2 >> b)

    def once(x: Tensor) -> Tensor:
        return x >> body()

    shared, single = graph_of(net), graph_of(once)
    named = {n: s for n, s in constants(shared).items() if not n.endswith("literal")}
    assert named == constants(single)
    x = image(1, *IMAGE)
    np.testing.assert_allclose(run(shared, x), run(single, x) + run(single, 2 * x), rtol=1e-12)


def test_building_twice_gives_equal_graphs_although_layers_are_shared() -> None:
    tower = Stack("tower", Conv(4, 3), ReLU())
    first, second = graph_of(lambda x: x >> tower), graph_of(lambda x: x >> tower)
    assert constants(first) == constants(second)
    np.testing.assert_array_equal(data(first, "tower.0.weight"), data(second, "tower.0.weight"))


# -- shapes and padding (literals from TensorFlow's and PyTorch's documented formulas)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        (16, 3, 1, 1, (1, 1)),
        (16, 3, 2, 1, (0, 1)),
        (15, 3, 2, 1, (1, 1)),
        (16, 2, 1, 1, (0, 1)),
        (224, 7, 2, 1, (2, 3)),
        (16, 1, 2, 1, (0, 0)),
        (16, 3, 1, 2, (2, 2)),
        (5, 2, 4, 1, (0, 1)),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, dilation: int, expected: tuple[int, int]) -> None:
    layer = Conv(2, kernel, stride, "same", dilation)
    graph = graph_of(lambda x: x >> layer, (3, size, size))
    before, after = expected
    assert graph.nodes[0].attrs.pads == (before, before, after, after)
    assert output_shape(graph) == (-1, 2, math.ceil(size / stride), math.ceil(size / stride))


def test_paddings_of_two_and_four_numbers_and_pairs() -> None:
    graph = graph_of(lambda x: x >> Conv(2, (1, 5), (2, 1), (0, 2)) >> Conv(2, 3, padding=(1, 0, 2, 3)))
    first, second = (n.attrs.pads for n in graph.nodes)
    assert (first, second) == ((0, 2, 0, 2), (1, 0, 2, 3))
    assert [n.output.type.shape for n in graph.nodes] == [(-1, 2, 8, 16), (-1, 2, 9, 17)]


def test_valid_is_no_padding() -> None:
    assert output_shape(graph_of(lambda x: x >> MaxPool(3, 2, "valid"))) == (-1, 3, 7, 7)


def test_pooling_conventions_against_torch() -> None:
    torch = pytest.importorskip("torch")
    x = image(1, 3, 15, 15)
    cases = [
        (MaxPool(3, 2, ceil_mode=True), torch.nn.MaxPool2d(3, 2, ceil_mode=True)),
        (MaxPool(2), torch.nn.MaxPool2d(2)),
        (MaxPool(3, 1, 2, dilation=2), None),
        (AvgPool(2, 2, ceil_mode=True, count_include_pad=False),
         torch.nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)),
        (AvgPool(3, 2, 1), torch.nn.AvgPool2d(3, 2, 1)),
        (AvgPool(3, 2, 1, count_include_pad=False), torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        (AvgPool(3, 2, 1, ceil_mode=True), torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
        (AdaptiveAvgPool(5), torch.nn.AdaptiveAvgPool2d(5)),
        (AdaptiveAvgPool((3, 1)), torch.nn.AdaptiveAvgPool2d((3, 1))),
        (AdaptiveAvgPool(1), torch.nn.AdaptiveAvgPool2d(1)),
        (AdaptiveAvgPool(4), torch.nn.AdaptiveAvgPool2d(4)),
        (AdaptiveAvgPool((15, 7)), torch.nn.AdaptiveAvgPool2d((15, 7))),
        (AdaptiveAvgPool((20, 5)), torch.nn.AdaptiveAvgPool2d((20, 5))),
    ]  # fmt: skip
    for layer, module in cases:
        if module is None:
            continue
        expected = module(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(run(graph_of(lambda t, p=layer: t >> p, (3, 15, 15)), x), expected, rtol=1e-12)


def test_adaptive_pooling_of_the_right_size_is_nothing() -> None:
    graph = graph_of(lambda x: x >> ReLU() >> AdaptiveAvgPool(16) >> Identity())
    assert [n.op.name for n in graph.nodes] == ["Relu"]


def test_grouped_and_depthwise_weights() -> None:
    graph = graph_of(
        lambda x: x >> Conv(8, 3, groups=4, bias=False) >> DepthwiseConv(3, multiplier=2, bias=False), (8, 16, 16)
    )
    assert constants(graph) == {"conv1.weight": (8, 2, 3, 3), "conv2.weight": (16, 1, 3, 3)}


def test_arithmetic_slices_and_joins_compute_what_they_say() -> None:
    def net(x: Tensor) -> Tensor:
        y = concat(x[:, 1:3], x[:, 0:1] * 2.0, select(x, [2, 0, 1]))
        y = (y - 1) / 4 + 0.5
        y = y >> Pad((0, 1, 0, 0), channels=(1, 0), value=3.0)
        return add(y[..., ::2], y[:, :, :, 1::2], y[:, :, :, 0:1], broadcast=True)

    x = image(2, 3, 5, 5)
    y = np.concatenate([x[:, 1:3], 2 * x[:, :1], x[:, [2, 0, 1]]], axis=1)
    y = np.pad((y - 1) / 4 + 0.5, ((0, 0), (1, 0), (0, 0), (1, 0)), constant_values=3)
    expected = y[..., ::2] + y[..., 1::2] + y[..., 0:1]
    np.testing.assert_allclose(run(graph_of(net, (3, 5, 5)), x), expected, rtol=1e-12)


def test_squeeze_excite_scales_channels() -> None:
    graph = graph_of(lambda x: x >> squeeze_excite(2).named("se"))
    assert constants(graph)["se.fc1.weight"] == (2, 3, 1, 1)
    x = image(1, *IMAGE)
    w1, b1, w2, b2 = (
        data(graph, f"se.{n}").squeeze() for n in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    )
    hidden = np.maximum(w1 @ x.mean((0, 2, 3)) + b1, 0)
    gate = 1 / (1 + np.exp(-(w2 @ hidden + b2)))
    np.testing.assert_allclose(run(graph, x), x * gate[:, None, None], rtol=1e-9)


def test_rearranging_layers_and_prelu() -> None:
    def net(x: Tensor) -> Tensor:
        return x >> PReLU(per_channel=True) >> Reshape((-1, 4)) >> Flatten() >> Dropout() >> Softmax()

    graph = graph_of(net, (4, 2, 2))
    assert constants(graph) == {"prelu1.weight": (4, 1, 1)}
    x = image(3, 4, 2, 2)
    y = np.exp(np.where(x > 0, x, 0.25 * x).reshape(3, 16))
    np.testing.assert_allclose(run(graph, x), y / y.sum(1, keepdims=True), rtol=1e-12)


# -- outputs


def heads(x: Tensor) -> dict[str, object]:
    x = x >> Conv(4, 3, name="stem")
    aux = x >> Stack("aux", GlobalAvgPool(), Flatten(), Dense(2))
    return {"scores": x >> GlobalAvgPool() >> Flatten() >> Dense(2, name="fc"), "aux": training_only(aux)}


def test_training_only_outputs_are_dropped_with_their_weights() -> None:
    graph = graph_of(heads)
    assert list(graph.outputs) == ["scores"]
    assert list(constants(graph)) == ["stem.weight", "stem.bias", "fc.weight", "fc.bias"]


def test_a_training_only_function_is_called_in_training_only() -> None:
    def net(x: Tensor) -> tuple[Tensor, object]:
        y = x >> Conv(4, 3, name="stem")
        return y >> GlobalAvgPool(), training_only(lambda: y >> Conv(1, 15, name="head"))

    assert list(graph_of(net, (3, 8, 8)).outputs) == ["logits"]
    graph = graph_of(net, (3, 17, 17), training=True)
    assert list(graph.outputs) == ["logits", "logits_1"]
    assert graph.outputs["logits_1"].type.shape == (-1, 1, 1, 1)
    with pytest.raises(CnnirError, match="The window does not fit"):
        graph_of(net, (3, 8, 8), training=True)


def test_training_keeps_all_outputs() -> None:
    graph = graph_of(heads, training=True)
    assert list(graph.outputs) == ["scores", "aux"]
    assert "aux.2.weight" in constants(graph)


def test_several_outputs_in_a_tuple() -> None:
    graph = graph_of(lambda x: (x >> ReLU(), x >> Conv(2, 1)), output="map")
    assert list(graph.outputs) == ["map", "map_1"]


# -- architectures


def test_architecture_with_variants_and_inputs() -> None:
    table = {"small": {"width": 2}, "large": {"width": 9, "input": (1, 9, 9)}}

    @architecture(input=(1, 8, 8), paper="nobody 2000", variants=table)
    def family(x: Tensor, width: int, classes: int = 3) -> Tensor:
        """First line.

        More.
        """
        return x >> Conv(width, 3) >> Flatten() >> Dense(classes)

    small, large = family.models()
    assert (small.name, small.family, small.doc, small.input_shape) == ("small", "family", "First line.", (1, 8, 8))
    assert large.input_shape == (1, 9, 9)
    assert family.build("large").inputs[0].type.shape == (-1, 1, 9, 9)
    assert output_shape(family.build("small", classes=7)) == (-1, 7)
    assert family.build("small", input_shape=(5, 8, 8)).inputs[0].type.shape == (-1, 5, 8, 8)


def test_an_architecture_may_be_a_part_of_another() -> None:
    @architecture(input=IMAGE)
    def backbone(x: Tensor) -> Tensor:
        return x >> Conv(4, 3, name="conv")

    @architecture(input=IMAGE)
    def whole(x: Tensor) -> Tensor:
        with scope("backbone"):
            features = backbone(x)
        assert isinstance(features, Tensor)
        return features >> ReLU()

    assert list(constants(whole.build())) == ["backbone.conv.weight", "backbone.conv.bias"]


# -- initialisation


def test_parameters_depend_on_seed_and_name_only() -> None:
    def one(x: Tensor) -> Tensor:
        return x >> Conv(4, 3, name="a") >> Conv(4, 3, name="b")

    def other(x: Tensor) -> Tensor:
        return concat(x >> Conv(4, 3, padding=1, name="c"), x[:, 0:3] >> Conv(4, 3, padding=1, name="a"))

    first, second = graph_of(one, seed=3), graph_of(other, seed=3)
    np.testing.assert_array_equal(data(first, "a.weight"), data(second, "a.weight"))
    assert not np.array_equal(data(first, "a.weight"), data(graph_of(one, seed=4), "a.weight"))
    assert not np.array_equal(data(first, "a.bias"), data(first, "b.bias"))


def test_nothing_is_drawn_before_it_is_asked_for() -> None:
    def refuse(rng: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Array:
        raise AssertionError("drawn")

    graph = graph_of(lambda x: x >> Conv(4, 3, init=refuse))
    with pytest.raises(AssertionError, match="drawn"):
        data(graph, "conv1.weight")


@pytest.mark.parametrize(
    ("init", "std", "bound"),
    [
        (HeNormal("fan_in"), math.sqrt(2 / (32 * 9)), None),
        (HeNormal("fan_out"), math.sqrt(2 / (128 * 9)), None),
        (XavierUniform(), math.sqrt(2 / ((32 + 128) * 9)), math.sqrt(6 / ((32 + 128) * 9))),
        (TorchUniform(), 1 / math.sqrt(3 * 32 * 9), 1 / math.sqrt(32 * 9)),
    ],
)
def test_schemes_have_their_papers_spread(init: object, std: float, bound: float | None) -> None:
    graph = graph_of(lambda x: x >> Conv(128, 3, init=init, bias=False), (32, 8, 8))
    weight = data(graph, "conv1.weight")
    # 36,864 draws: the standard deviation is known to 0.4% (one sigma), the mean to 0.5% of it.
    assert weight.std() == pytest.approx(std, rel=0.02)
    assert abs(weight.mean()) < 0.025 * std
    if bound is not None:
        assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
    assert weight.dtype == np.float32


def test_constants_and_batch_norm_defaults() -> None:
    conv, norm = Conv(2, 1, bias_init=Constant(0.5), name="c"), BatchNorm(name="n", gamma=ZEROS)
    graph = graph_of(lambda x: x >> conv >> norm)
    assert (data(graph, "c.bias") == 0.5).all()
    assert not data(graph, "n.weight").any()
    assert not data(graph, "n.running_mean").any()
    assert (data(graph, "n.running_var") == 1).all()


def test_a_shorthand_counts_as_written_where_it_is_called() -> None:
    @shorthand
    def unit(filters: int) -> Conv:
        return Conv(filters, 1)

    def net(x: Tensor) -> Tensor:
        x >>= unit(2)
        x >>= unit(3)
        return x

    first, second = (n.loc for n in graph_of(net).nodes)
    assert first is not None and second is not None
    assert second.line == first.line + 1
    assert first.line == net.__code__.co_firstlineno + 1
