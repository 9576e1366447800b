"""Costs, receptive fields, memory and complexity, against figures from the papers and by hand."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from cnnir.analysis import complexity, complexity_ratio, graph_cost, memory_use, receptive_fields
from cnnir.errors import CnnirError
from cnnir.ir import BATCH, ArrayData, Attrs, DType, Graph, LazyData, Node, Operator, TensorType, Value
from cnnir.ops import dense, elementwise, normalization, pool, reduce, shape
from cnnir.ops.activation import RELU, SIGMOID, NoAttrs
from cnnir.ops.conv import CONV, ConvAttrs


class Builder:
    """A graph grown node by node, with weights that are never computed."""

    def __init__(self, *input_shape: int) -> None:
        self.input = Value("x", TensorType(DType.F32, (BATCH, *input_shape)))
        self.nodes: list[Node] = []
        self.weights = 0

    def weight(self, *dims: int) -> Value:
        self.weights += 1
        name = f"w{self.weights}"
        return Value.constant(name, LazyData(dims, DType.F32, lambda: np.zeros(dims, np.float32)))

    def add(self, op: Operator[Attrs], attrs: Attrs, *inputs: Value | None) -> Value:
        node = Node(op, attrs, inputs, name=f"{op.name.lower()}{len(self.nodes)}")
        self.nodes.append(node)
        return node.output

    def conv(
        self, x: Value, filters: int, k: int, stride: int = 1, pad: int = 0, groups: int = 1, bias: bool = False
    ) -> Value:
        attrs = ConvAttrs((k, k), (stride, stride), (pad,) * 4, groups=groups)
        weight = self.weight(filters, x.type.shape[1] // groups, k, k)
        return self.add(CONV, attrs, x, weight, self.weight(filters) if bias else None, None)

    def pool(self, x: Value, k: int, stride: int, pad: int = 0) -> Value:
        return self.add(pool.MAX_POOL, pool.PoolAttrs((k, k), (stride, stride), (pad,) * 4), x)

    def dense(self, x: Value, features: int) -> Value:
        weight = self.weight(features, x.type.shape[1])
        return self.add(dense.DENSE, dense.DenseAttrs(), x, weight, self.weight(features))

    def graph(self, *outputs: Value) -> Graph:
        return Graph("test", [self.input], {f"y{i}": v for i, v in enumerate(outputs)}, self.nodes)


def alexnet() -> Graph:
    """torchvision's AlexNet (Krizhevsky, 2014), without its adaptive pool, which is the identity at 224."""
    b = Builder(3, 224, 224)
    x = b.input
    for filters, k, stride, pad, pooled in (
        (64, 11, 4, 2, True),
        (192, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, False),
        (256, 3, 1, 1, True),
    ):
        x = b.add(RELU, NoAttrs(), b.conv(x, filters, k, stride, pad, bias=True))
        x = b.pool(x, 3, 2) if pooled else x
    x = b.add(shape.FLATTEN, shape.FlattenAttrs(), x)
    for features in (4096, 4096, 1000):
        x = b.dense(x, features)
    return b.graph(x)


def test_alexnet_parameters() -> None:
    """torchvision documents 61,100,840 parameters and 0.71 GFLOPS (multiply-accumulates) for these weights."""
    cost = graph_cost(alexnet())
    assert cost.nodes[0].params == 23_296  # 64 * 3 * 11 * 11 + 64
    assert cost.nodes[0].macs == 64 * 55 * 55 * 3 * 11 * 11
    assert cost.total.params == 61_100_840
    assert round(cost.total.macs / 1e9, 2) == 0.71


def test_bottleneck_macs() -> None:
    """He et al. (2015), section 4.1: a 3x3 convolution of 256 channels, and the bottleneck that replaces it."""
    plain, bottleneck = Builder(256, 1, 1), Builder(256, 1, 1)
    plain.conv(plain.input, 256, 3, pad=1)
    assert graph_cost(plain.graph()).total.macs == 589_824
    x = bottleneck.conv(bottleneck.input, 64, 1)
    x = bottleneck.conv(x, 64, 3, pad=1)
    bottleneck.conv(x, 256, 1)
    assert [n.macs for n in graph_cost(bottleneck.graph()).nodes] == [16_384, 36_864, 16_384]


def test_cost_of_one_node_by_hand() -> None:
    b = Builder(8, 10, 10)
    y = b.conv(b.input, 16, 3, stride=2, pad=1, groups=2, bias=True)
    (node,) = graph_cost(b.graph(y), batch=3).nodes
    out = 3 * 16 * 5 * 5
    assert node.params == 16 * 4 * 9 + 16
    assert node.macs == out * 4 * 9
    assert node.flops == 2 * node.macs + out
    assert node.bytes_read == 3 * 8 * 10 * 10 * 4
    assert node.bytes_written == out * 4
    assert node.bytes_weights == node.params * 4
    assert node.bytes == node.bytes_read + node.bytes_written + node.bytes_weights
    assert node.intensity == node.flops / node.bytes


def test_statistics_are_no_parameters_and_shared_weights_count_once() -> None:
    b = Builder(8, 4, 4)
    c = [b.weight(8) for _ in range(4)]
    x = b.add(normalization.BATCH_NORM, normalization.BatchNormAttrs(), b.input, *c)
    weight = b.weight(8, 8, 1, 1)
    x = b.add(CONV, ConvAttrs((1, 1)), x, weight, None, None)
    x = b.add(CONV, ConvAttrs((1, 1)), x, weight, None, None)
    cost = graph_cost(b.graph(x))
    assert [n.params for n in cost.nodes] == [16, 64, 64]
    assert cost.total.params == 16 + 64
    assert cost.nodes[0].bytes_weights == 4 * 8 * 4


def test_reading_twice_is_one_pass_and_reshaping_moves_nothing() -> None:
    b = Builder(8)
    x = b.add(elementwise.MUL, elementwise.BinaryAttrs(), b.input, b.input)
    b.add(shape.UNSQUEEZE, shape.AxesAttrs((1,)), x)
    square, view = graph_cost(b.graph()).nodes
    assert (square.bytes_read, square.bytes_written) == (32, 32)
    assert view.bytes == 0


def test_costs_are_json() -> None:
    data = json.loads(json.dumps(graph_cost(alexnet()).as_dict()))
    assert data["total"]["params"] == 61_100_840
    assert data["nodes"][0]["op"] == "Conv"
    assert data["batch"] == 1


def test_vgg_receptive_field() -> None:
    """Araujo et al. (Distill, 2019), table of architectures: VGG-16 sees 212 pixels with stride 32 (pool 5)."""
    b = Builder(3, 224, 224)
    x = b.input
    for convs in (2, 2, 3, 3, 3):
        for _ in range(convs):
            x = b.conv(x, 8, 3, pad=1)
        x = b.pool(x, 2, 2)
    field = receptive_fields(b.graph(x))[x.name]
    assert (field.size, field.stride) == ((212, 212), (32, 32))
    assert field.offset == (-90, -90)  # thirteen paddings: 2 * 1 + 2 * 2 + 3 * 4 + 3 * 8 + 3 * 16


def test_alexnet_receptive_field() -> None:
    """Araujo et al. (Distill, 2019): 195 pixels with stride 32 behind pool 5."""
    fields = receptive_fields(alexnet())
    graph = alexnet()
    pools = [fields[n.output.name] for n in graph.nodes if n.op is pool.MAX_POOL]
    assert (pools[-1].size, pools[-1].stride) == ((195, 195), (32, 32))
    # Flattened, everything that the 6x6 pixels saw: -2-... to 5*32+195 long, cut to the image.
    last = fields[graph.nodes[-1].output.name]
    assert last.size == (224, 224)
    assert last.stride == (0, 0)


def test_branches_join_to_the_larger_field() -> None:
    """A residual block: 3x3 and 3x3 beside the identity see 5x5."""
    b = Builder(4, 32, 32)
    y = b.conv(b.conv(b.input, 4, 3, pad=1), 4, 3, pad=1)
    y = b.add(elementwise.ADD, elementwise.BinaryAttrs(), y, b.input)
    field = receptive_fields(b.graph(y))[y.name]
    assert (field.size, field.offset, field.stride) == ((5, 5), (-2, -2), (1, 1))


def test_a_fused_residual_does_not_pass_the_window() -> None:
    b = Builder(4, 32, 32)
    y = b.conv(b.input, 4, 5, pad=2)
    weight = b.weight(4, 4, 3, 3)
    y = b.add(CONV, ConvAttrs((3, 3), pads=(1, 1, 1, 1)), b.input, weight, None, y)
    assert receptive_fields(b.graph(y))[y.name].size == (5, 5)


def test_a_gate_sees_the_whole_image() -> None:
    """Squeeze-and-excitation: behind the multiplication every pixel depends on every pixel."""
    b = Builder(4, 32, 48)
    x = b.conv(b.input, 4, 3, stride=2, pad=1)
    gate = b.add(pool.GLOBAL_AVERAGE_POOL, NoAttrs(), x)
    gate = b.add(SIGMOID, NoAttrs(), b.conv(gate, 4, 1))
    y = b.add(elementwise.MUL, elementwise.BinaryAttrs(), x, gate)
    z = b.conv(y, 4, 3)
    fields = receptive_fields(b.graph(z))
    assert fields[x.name].size == (3, 3)
    for value in (gate, y, z):
        assert fields[value.name].size == (32, 48)


def test_what_pools_leave_out_is_not_seen() -> None:
    """5 pixels, pool of 2 with stride 2: the last row and column are dropped, and the mean never sees them."""
    b = Builder(1, 5, 5)
    y = b.add(reduce.REDUCE_MEAN, reduce.ReduceAttrs((2, 3), False), b.pool(b.input, 2, 2))
    field = receptive_fields(b.graph(y))[y.name]
    assert (field.size, field.offset) == ((4, 4), (0, 0))


def test_channel_shuffle_and_slices_keep_pixels_apart() -> None:
    b = Builder(8, 6, 6)
    x = b.conv(b.input, 8, 3)
    x = b.add(shape.RESHAPE, shape.ReshapeAttrs((0, 2, 4, 4, 4)), x)
    x = b.add(shape.TRANSPOSE, shape.TransposeAttrs((0, 2, 1, 3, 4)), x)
    x = b.add(shape.RESHAPE, shape.ReshapeAttrs((0, 8, 4, 4)), x)
    y = b.add(shape.SLICE, shape.SliceAttrs((2, 3), (1, 1), (4, 4), (2, 1)), x)
    fields = receptive_fields(b.graph(y))
    assert fields[x.name].size == (3, 3)
    assert (fields[y.name].size, fields[y.name].stride, fields[y.name].offset) == ((3, 3), (2, 1), (1, 1))


def test_rearranged_pixels_may_come_from_anywhere() -> None:
    b = Builder(4, 6, 8)
    x = b.conv(b.input, 4, 3, pad=1)
    nhwc = b.add(shape.TRANSPOSE, shape.TransposeAttrs((0, 2, 3, 1)), x)
    back = b.add(RELU, NoAttrs(), b.add(shape.TRANSPOSE, shape.TransposeAttrs((0, 3, 1, 2)), nhwc))
    tall = b.add(shape.CONCAT, shape.ConcatAttrs(2), x, x)
    fields = receptive_fields(b.graph(back, tall))
    for value in (nhwc, back):
        assert (fields[value.name].size, fields[value.name].stride) == ((6, 8), (0, 0))
    assert (fields[tall.name].size, fields[tall.name].stride) == ((6, 3), (0, 1))


def test_images_of_keras_models_are_transposed_first() -> None:
    b = Builder(20, 30, 3)
    x = b.add(shape.TRANSPOSE, shape.TransposeAttrs((0, 3, 1, 2)), b.input)
    y = b.conv(x, 4, 3, stride=2)
    g = b.add(pool.GLOBAL_AVERAGE_POOL, NoAttrs(), y)
    fields = receptive_fields(b.graph(g))
    assert (fields[y.name].size, fields[y.name].stride) == ((3, 3), (2, 2))
    assert fields[g.name].size == (19, 29)


def receptive_field_by_gradient(graph: Graph, value: Value, row: int, column: int) -> tuple[int, int, int, int]:
    """Which input pixels change the value at a position, by trying: top, left, height, width."""
    from cnnir.backends.reference import Interpreter

    run = Interpreter(graph).run
    _, c, h, w = graph.inputs[0].type.shape
    base = run({"x": np.zeros((1, c, h, w))}, keep=[value.name])[value.name][0, :, row, column]
    touched = np.zeros((h, w), bool)
    for i in range(h):
        for j in range(w):
            x = np.zeros((1, c, h, w))
            x[0, :, i, j] = 1
            touched[i, j] = (run({"x": x}, keep=[value.name])[value.name][0, :, row, column] != base).any()
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    return rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


def test_fields_are_those_found_by_trying() -> None:
    b = Builder(1, 23, 21)
    rng = np.random.default_rng(0)

    def conv(x: Value, attrs: ConvAttrs) -> Value:
        weight = rng.uniform(0.5, 1, (1, 1, *attrs.kernel_size)).astype(np.float32)
        name = f"w{len(b.nodes)}"
        return b.add(CONV, attrs, x, Value.constant(name, ArrayData(weight)), None, None)

    x = conv(b.input, ConvAttrs((3, 2), (2, 1), (1, 0, 1, 1)))
    x = conv(x, ConvAttrs((2, 3), (1, 2), dilation=(2, 1)))
    attrs = pool.AveragePoolAttrs((2, 2), (1, 1), (1, 0, 0, 0))
    y = b.add(pool.AVERAGE_POOL, attrs, x)
    graph = b.graph(y)
    field = receptive_fields(graph)[y.name]
    for row, column in ((2, 2), (3, 4)):  # away from the border
        expected = receptive_field_by_gradient(graph, y, row, column)
        top, left = (o + s * i for o, s, i in zip(field.offset, field.stride, (row, column), strict=True))
        assert (top, left, *field.size) == expected


def test_two_image_sizes_have_no_common_field() -> None:
    a, b = (Value(n, TensorType(DType.F32, (1, 3, size, size))) for n, size in (("a", 8), ("b", 9)))
    with pytest.raises(CnnirError, match="one image size"):
        receptive_fields(Graph("g", [a, b], {"y": a}, []))


def test_memory_of_a_residual_block_by_hand() -> None:
    """The shortcut stays alive across the block: three values of 4 KiB at the second convolution."""
    b = Builder(1, 32, 32)
    x = b.conv(b.input, 1, 3, pad=1)
    y = b.conv(x, 1, 3, pad=1)
    z = b.conv(y, 1, 3, pad=1)
    s = b.add(elementwise.ADD, elementwise.BinaryAttrs(), z, x)
    f = b.add(shape.FLATTEN, shape.FlattenAttrs(), s)
    use = memory_use(b.graph(f))
    kib = 32 * 32 * 4
    assert [size // kib for _, size in use.live] == [2, 2, 3, 3, 1]
    assert (use.peak, use.peak_node) == (3 * kib, z.name)
    assert use.activations == 5 * kib  # the flattened value is the sum's memory
    assert use.weights == 3 * 9 * 4
    assert memory_use(b.graph(f), batch=4).peak == 4 * use.peak
    assert json.loads(json.dumps(use.as_dict()))["live"][0] == {"node": "conv0", "bytes": 2 * kib}


def test_memory_keeps_outputs_to_the_end() -> None:
    b = Builder(1, 8, 8)
    x = b.conv(b.input, 1, 1)
    y = b.conv(x, 1, 1)
    z = b.conv(y, 1, 1)
    assert [size // 256 for _, size in memory_use(b.graph(x, z)).live] == [2, 2, 3]


def plain(layers: Sequence[tuple[int, int, int]]) -> Graph:
    b = Builder(3, 16, 16)
    x = b.input
    for filters, k, stride in layers:
        x = b.conv(x, filters, k, stride, k // 2)
    x = b.add(pool.GLOBAL_AVERAGE_POOL, NoAttrs(), x)
    return b.graph(b.dense(b.add(shape.FLATTEN, shape.FlattenAttrs(), x), 10))


def test_complexity_is_the_sum_over_convolutions() -> None:
    graph = plain([(8, 3, 1), (16, 5, 2)])
    found = complexity(graph)
    assert [layer.value for layer in found.layers] == [3 * 9 * 8 * 256, 8 * 25 * 16 * 64]
    convs = [n.macs for n in graph_cost(graph).nodes if n.op == "Conv"]
    assert found.total == sum(convs) < graph_cost(graph).total.macs
    assert json.loads(json.dumps(found.as_dict()))["total"] == found.total


def test_depth_for_filter_size_keeps_the_complexity() -> None:
    """He & Sun (2015), section 3.2: one 3x3 layer against two 2x2 layers of as many filters: 9 to 8."""
    one, two = Builder(64, 16, 16), Builder(64, 16, 16)
    one.conv(one.input, 64, 3, pad=1)
    x = two.input
    for pads in ((1, 1, 0, 0), (0, 0, 1, 1)):
        x = two.add(CONV, ConvAttrs((2, 2), pads=pads), x, two.weight(64, 64, 2, 2), None, None)
    assert complexity_ratio(two.graph(x), one.graph()) == 8 / 9
    with pytest.raises(CnnirError, match="has no convolution"):
        complexity_ratio(one.graph(), Graph("empty"))
