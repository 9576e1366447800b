"""The interpreter: against torch on a real architecture's shape, its checks, its memory."""

import gc
import time
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from cnnir.backends.reference import Interpreter, run
from cnnir.errors import CnnirError
from cnnir.ir import BATCH, Array, ArrayData, DType, Graph, Node, TensorType, Value
from cnnir.ops import conv, dense, elementwise, normalization, pool, shape
from cnnir.ops.activation import RELU, Activation, ActivationKind, NoAttrs


def constant(name: str, array: Array) -> Value:
    return Value.constant(name, ArrayData(array))


def small_net(rng: np.random.Generator) -> Graph:
    """Convolution, normalisation, residual, pooling, classifier: x `[N, 3, 17, 15]` -> `[N, 10]`."""
    x = Value("x", TensorType(DType.F32, (BATCH, 3, 17, 15)))

    def floats(*dims: int) -> Array:
        return rng.standard_normal(dims, dtype=np.float32)

    attrs = conv.ConvAttrs((3, 3), (2, 2), (1, 1, 1, 1))
    c1 = Node(conv.CONV, attrs, [x, constant("w1", floats(8, 3, 3, 3)), None, None], name="c1")
    statistics = [constant(n, floats(8)) for n in ("scale", "bias", "mean")]
    var = constant("var", np.abs(floats(8)) + 1)
    bn = Node(normalization.BATCH_NORM, normalization.BatchNormAttrs(), [c1.output, *statistics, var], name="bn")
    relu = Node(RELU, NoAttrs(), [bn.output], name="relu")
    attrs = conv.ConvAttrs((3, 3), pads=(1, 1, 1, 1), groups=2)
    c2 = Node(conv.CONV, attrs, [relu.output, constant("w2", floats(8, 4, 3, 3)), None, None], name="c2")
    add = Node(elementwise.ADD, elementwise.BinaryAttrs(), [c2.output, relu.output], name="add")
    mp = Node(pool.MAX_POOL, pool.PoolAttrs((3, 3), (2, 2), (1, 1, 1, 1)), [add.output], name="mp")
    gap = Node(pool.GLOBAL_AVERAGE_POOL, NoAttrs(), [mp.output], name="gap")
    flat = Node(shape.FLATTEN, shape.FlattenAttrs(), [gap.output], name="flat")
    fc = [constant("fc.weight", floats(10, 8)), constant("fc.bias", floats(10))]
    logits = Node(dense.DENSE, dense.DenseAttrs(), [flat.output, *fc], name="fc")
    nodes = [c1, bn, relu, c2, add, mp, gap, flat, logits]
    return Graph("small", [x], {"logits": logits.output}, nodes)


def test_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    graph = small_net(rng)
    w = {v.name: torch.from_numpy(v.data.numpy().astype(np.float64)) for v in graph.constants() if v.data}
    images = rng.standard_normal((3, 3, 17, 15))
    f = torch.nn.functional
    y = f.conv2d(torch.from_numpy(images), w["w1"], stride=2, padding=1)
    y = f.batch_norm(y, w["mean"], w["var"], w["scale"], w["bias"], eps=1e-5).relu()
    y = f.conv2d(y, w["w2"], padding=1, groups=2) + y
    y = f.max_pool2d(y, 3, 2, 1).mean((2, 3))
    expected = f.linear(y, w["fc.weight"], w["fc.bias"]).numpy()
    (actual,) = run(graph, {"x": images}).values()
    assert actual.dtype == np.float64
    # Both in float64: about a hundred roundings of 2^-53 on numbers below a few tens.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_single_precision_on_request() -> None:
    rng = np.random.default_rng(0)
    graph = small_net(rng)
    images = rng.standard_normal((2, 3, 17, 15))
    exact = run(graph, {"x": images})["logits"]
    single = Interpreter(graph, np.float32).run({"x": images})["logits"]
    assert single.dtype == np.float32
    assert 0 < np.abs(single - exact).max() < 1e-4 * np.abs(exact).max()


def test_tap_sees_every_node_and_keep_returns_values() -> None:
    graph = small_net(np.random.default_rng(0))
    seen: list[tuple[str, tuple[int, ...]]] = []

    def tap(node: Node, outputs: Sequence[Array]) -> None:
        seen.append((node.name, outputs[0].shape))

    result = Interpreter(graph).run({"x": np.zeros((2, 3, 17, 15))}, tap=tap, keep=["relu", "x"])
    assert [name for name, _ in seen] == [node.name for node in graph.nodes]
    assert seen[0] == ("c1", (2, 8, 9, 8))
    assert set(result) == {"relu", "x", "logits"}
    assert (result["relu"] >= 0).all()


def test_values_are_freed_after_their_last_reader() -> None:
    graph = small_net(np.random.default_rng(0))
    alive: dict[str, weakref.ref[Array]] = {}
    counts: list[int] = []

    def tap(node: Node, outputs: Sequence[Array]) -> None:
        gc.collect()
        counts.append(sum(r() is not None for r in alive.values()))
        alive[node.name] = weakref.ref(outputs[0] if outputs[0].base is None else outputs[0].base)

    Interpreter(graph).run({"x": np.ones((1, 3, 17, 15))}, tap=tap)
    # At the addition the first convolution's and the normalisation's results are gone; at the end all but one is.
    assert alive["c1"]() is None and alive["add"]() is None
    assert max(counts) <= 3


def test_integers_stay_integers() -> None:
    x = Value("x", TensorType(DType.I64, (3,)))
    node = Node(elementwise.DIV, elementwise.BinaryAttrs(), [x, constant("c", np.array([2, 2, 2]))], name="div")
    result = run(Graph("g", [x], {"y": node.output}, [node]), {"x": np.array([7, -7, 4])})
    assert result["y"].dtype == np.int64
    assert result["y"].tolist() == [3, -3, 2]


def test_an_output_may_be_an_input_or_a_constant() -> None:
    x = Value("x", TensorType(DType.F32, (2,)))
    graph = Graph("g", [x], {"same": x, "fixed": constant("c", np.ones(1, np.float32))}, [])
    result = run(graph, {"x": np.array([1.0, 2.0])})
    assert result["same"].tolist() == [1, 2]
    assert result["fixed"].tolist() == [1]


@pytest.mark.parametrize(
    ("feeds", "sentence"),
    [
        ({}, "graph 'small': No array was given for 'x'. The inputs are %x: f32[N,3,17,15]."),
        ({"y": np.zeros(1)}, "graph 'small': Unknown input 'y'. Known: x."),
        (
            {"x": np.zeros((1, 3, 17, 16))},
            "Input 'x': expected shape [N,3,17,15], got [1,3,17,16]. N is any batch size.",
        ),
        (
            {"x": np.zeros((1, 3, 17, 15), np.uint8)},
            "Input 'x': expected elements of type f32, got u8. Convert it with `.astype('float32')`.",
        ),
        ({"x": np.float64(3)}, "Input 'x': expected shape [N,3,17,15], got []. N is any batch size."),
    ],
)
def test_wrong_feeds_are_refused(feeds: dict[str, Array], sentence: str) -> None:
    with pytest.raises(CnnirError) as caught:
        run(small_net(np.random.default_rng(0)), feeds)
    assert str(caught.value) == sentence


def test_batches_must_agree() -> None:
    a, b = (Value(n, TensorType(DType.F32, (BATCH, 2))) for n in "ab")
    node = Node(elementwise.ADD, elementwise.BinaryAttrs(), [a, b], name="sum")
    with pytest.raises(CnnirError, match="Input 'b' has a batch of 1, but input 'a' one of 3"):
        run(Graph("g", [a, b], {"y": node.output}, [node]), {"a": np.zeros((3, 2)), "b": np.zeros((1, 2))})


@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "stride", "groups", "dilation", "pad"),
    [
        (3, 8, (7, 7), 2, 1, 1, 3),
        (8, 8, (3, 3), 1, 8, 1, 1),
        (8, 24, (5, 3), 2, 8, 1, 2),
        (12, 20, (3, 3), 1, 4, 2, 2),
        (16, 8, (1, 1), 2, 2, 1, 0),
        (6, 6, (1, 5), 3, 1, 1, 1),
    ],
)
def test_every_way_of_convolving_agrees_with_torch(
    channels: int,
    filters: int,
    kernel: tuple[int, int],
    stride: int,
    groups: int,
    dilation: int,
    pad: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, channels, 19, 23))
    weight = rng.standard_normal((filters, channels // groups, *kernel))
    attrs = conv.ConvAttrs(kernel, (stride, stride), (pad,) * 4, (dilation, dilation), groups)
    expected = torch.conv2d(
        torch.from_numpy(x), torch.from_numpy(weight), None, stride, pad, dilation, groups
    ).numpy()
    for elements in (1, 3000, 1 << 20):  # a row at a time, a few, all
        monkeypatch.setattr(conv, "_PATCH_ELEMENTS", elements)
        (actual,) = conv.CONV.reference(attrs, (x, weight, None, None))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11)


def test_the_convolutions_of_a_resnet50_take_seconds_at_most() -> None:
    """He et al. (2015), table 1: 53 convolutions, 4.1 G multiply-accumulates in float64."""
    rng = np.random.default_rng(0)
    relu = Activation(ActivationKind.RELU)
    stages = [(56, 64, 3), (28, 128, 4), (14, 256, 6), (7, 512, 3)]
    start = time.perf_counter()
    for size, width, blocks in stages:
        inputs = {c: rng.standard_normal((1, c, size, size)) for c in (width, 4 * width)}
        for filters, channels, kernel in ((width, 4 * width, 1), (width, width, 3), (4 * width, width, 1)):
            weight = rng.standard_normal((filters, channels, kernel, kernel))
            attrs = conv.ConvAttrs((kernel, kernel), pads=(kernel // 2,) * 4, activation=relu)
            for _ in range(blocks):
                conv.CONV.reference(attrs, (inputs[channels], weight, None, None))
    assert time.perf_counter() - start < 10  # about 0.2 s on an idle machine
