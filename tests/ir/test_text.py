"""The text form: what it looks like, that it comes back the same, and what it says of mistakes."""

import math
import string
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnir.errors import CnnirError
from cnnir.ir import BATCH, ArrayData, DType, Graph, Layout, Loc, Node, TensorData, TensorType, Value
from cnnir.ir.equality import difference, equal
from cnnir.ir.registry import operator, operators
from cnnir.ir.text import load_graph, parse_graph, print_graph, save_graph, tensors_of
from cnnir.ops import conv, elementwise, layout, pool, shape
from cnnir.ops.activation import CLIP, RELU, Activation, ActivationKind, ClipAttrs, NoAttrs


def constant(name: str, *dims: int, seed: int = 0, dtype: Any = np.float32) -> Value:
    return Value.constant(name, ArrayData(np.random.default_rng(seed).standard_normal(dims).astype(dtype)))


def example() -> Graph:
    x = Value("x", TensorType(DType.F32, (BATCH, 3, 8, 8)))
    w = constant("conv.weight", 16, 3, 3, 3)
    tied = Value.constant("tied weight", w.data) if w.data else w
    relu6 = Activation(ActivationKind.CLIP, 0.0, 6.0)
    a = Node(
        conv.CONV,
        conv.ConvAttrs((3, 3), pads=(1, 1, 1, 1), activation=relu6),
        [x, w, constant("conv.bias", 16), None],
        name="conv",
        loc=Loc("net.py", 12),
        origins=["conv", "bn", "relu6"],
        layouts=[Layout(8, (1, 1, 1, 1))],
    )
    b = Node(conv.CONV, conv.ConvAttrs((3, 3), pads=(1, 1, 1, 1)), [x, tied, None, a.output], name="again")
    r = Node(layout.REORDER, layout.ReorderAttrs(), [b.output], name="reorder/1", loc=Loc("m.onnx", 0, "node 'R'"))
    r.output.name = "out:0"
    c = Node(CLIP, ClipAttrs(min=-1.5), [r.output], name="clip")
    s = Node(shape.SLICE, shape.SliceAttrs((1,), (0,), (8,), (2,)), [c.output], name="slice")
    return Graph("an example", [x], {"y": s.output, "other output": a.output}, [a, b, r, c, s])


TEXT = """\
cnnir 1
graph "an example"
input %x: f32[N,3,8,8]
const %conv.weight: f32[16,3,3,3]
const %conv.bias: f32[16]
const %"tied weight": f32[16,3,3,3] = "conv.weight"
%conv: f32[N,16,8,8]@nchw8c+1,1,1,1 = Conv(%x, %conv.weight, %conv.bias) {kernel_size=[3, 3], pads=[1, 1, 1, 1], \
activation=Activation(kind=clip, beta=6.0)} at "net.py":12 from "conv", "bn", "relu6"
%again: f32[N,16,8,8] = Conv(%x, %"tied weight", _, %conv) {kernel_size=[3, 3], pads=[1, 1, 1, 1]}
%"out:0": f32[N,16,8,8] = Reorder(%again) name "reorder/1" at "m.onnx" "node 'R'"
%clip: f32[N,16,8,8] = Clip(%"out:0") {min=-1.5}
%slice: f32[N,4,8,8] = Slice(%clip) {axes=[1], starts=[0], ends=[8], steps=[2]}
output "y" = %slice
output "other output" = %conv
"""


def test_the_form() -> None:
    assert print_graph(example()) == TEXT


def test_it_comes_back() -> None:
    graph = example()
    back = parse_graph(TEXT, tensors_of(graph))
    back.verify()
    assert difference(graph, back) is None
    assert print_graph(back) == TEXT
    first, _, tied = back.constants()
    assert tied.data is first.data


def test_comments_spaces_and_windows_line_ends_do_not_matter() -> None:
    noisy = "# a graph\r\n\r\n" + TEXT.replace("\n", "  # so it is\r\n").replace(" = ", "   =\t")
    assert equal(parse_graph(noisy, tensors_of(example())), example())


def test_save_and_load(tmp_path: Path) -> None:
    graph = example()
    path = tmp_path / "net.cnnir"
    save_graph(graph, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.cnnir", "net.safetensors"]
    assert 'weights "net.safetensors"' in path.read_text()
    back = load_graph(path)
    assert difference(graph, back) is None
    assert any(isinstance(a, np.memmap) for a in _bases(next(back.constants())))
    before = [p.read_bytes() for p in sorted(tmp_path.iterdir())]
    save_graph(back, path)  # over the very file that it is mapped from
    assert [p.read_bytes() for p in sorted(tmp_path.iterdir())] == before
    assert equal(graph, back)


def _bases(value: Value) -> list[object]:
    assert value.data is not None
    found: list[object] = []
    array: object = value.data.numpy()
    while array is not None:
        found.append(array)
        array = getattr(array, "base", None)
    return found


def test_a_graph_without_constants_has_no_weights(tmp_path: Path) -> None:
    x = Value("x", TensorType(DType.F32, (BATCH, 4)))
    node = Node(RELU, NoAttrs(), [x], name="y")
    save_graph(Graph("g", [x], {"y": node.output}, [node]), tmp_path / "g.cnnir")
    assert [p.name for p in tmp_path.iterdir()] == ["g.cnnir"]
    assert len(load_graph(tmp_path / "g.cnnir").nodes) == 1


def test_every_sample_of_every_operator_comes_back() -> None:
    for op in operators():
        for sample in op.samples(np.random.default_rng(0)):
            values = [
                None if a is None else Value.constant(f"c{i}", ArrayData(a)) for i, a in enumerate(sample.inputs)
            ]
            node = Node(op, sample.attrs, values, name="n")
            graph = Graph("g", [], {f"y{i}": v for i, v in enumerate(node.outputs)}, [node])
            back = parse_graph(print_graph(graph), tensors_of(graph))
            assert difference(graph, back) is None
            assert repr(back.nodes[0].attrs) == repr(sample.attrs)


@pytest.mark.parametrize("value", [-0.0, math.inf, 5e-324, 0.1, 1e22, 1 / 3, -1e-7, 3])
def test_floats_come_back_to_the_bit(value: float) -> None:
    x = Value("x", TensorType(DType.F32, (4,)))
    node = Node(CLIP, ClipAttrs(max=value), [x], name="y")
    back = parse_graph(print_graph(Graph("g", [x], {}, [node])))
    assert repr(back.nodes[0].attrs) == repr(node.attrs)


# -- mistakes


def lines(*statements: str) -> str:
    return "\n".join(['cnnir 1', 'graph "g"', "input %x: f32[N,4,8,8]", *statements])  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'<text>' is not a graph in text form. Its first line would be 'cnnir 1'."),
        ("ir_version: 8", "'<text>' is not a graph in text form. Its first line would be 'cnnir 1'."),
        ("cnnir 2", "<text>:1: This is version 2 of the text form, which this cnnir does not read. "
                    "It reads version 1."),
        (lines("%y: f32[N,4,8,8] = Rellu(%x)"), "<text>:4:20: Unknown operator 'Rellu'. Did you mean 'Relu'?"),
        (lines("%y: f32[N,4,8,8] = Relu(%z)"), "<text>:4:25: Unknown value 'z'. Known: x."),
        (lines("%y: f32[N,4,8,8] = Relu(%x"), "<text>:4:27: Expected ',', got the end of the line."),
        (lines("%y: f32[N,4,8,8] = Relu(%x) junk"), "<text>:4:29: Expected the end of the line, got 'junk'."),
        (lines("%y: f32[N,4,8,8] Relu(%x)"), "<text>:4:18: Expected '=', got 'Relu(%x)'."),
        (lines("%y: f31[N,4,8,8] = Relu(%x)"), "<text>:4:5: Unknown element type 'f31'. Did you mean 'f32'?"),
        (lines("%y: f32[N,4,-8,8] = Relu(%x)"),
         "<text>:4:5: 'f32[N,4,-8,8]' is no type: invalid shape (-1, 4, -8, 8)."),
        (lines("%y: [N,4] = Relu(%x)"),
         "<text>:4:5: Expected a type such as f32[N,3,224,224], got '[N,4] = Relu(%x)'."),
        (lines("%y: f32[N,4,8,8]@nchw8c+1 = Relu(%x)"), "<text>:4:24: Expected '=', got '+1 = Relu(%x)'."),
        (lines("%y: f32[N,4,9,8] = Relu(%x)"),
         "<text>:4:20: Value 'y' is written as f32[N,4,9,8], but 'Relu' gives f32[N,4,8,8]."),
        (lines("%x: f32[N,4,8,8] = Relu(%x)"), "<text>:4:1: Value 'x' is defined twice."),
        (lines("%y: f32[N,4,8,8] = Relu(%x)", '%z: f32[N,4,8,8] = Relu(%x) name "y"'),
         "<text>:5:20: Two nodes are called 'y'."),
        (lines("%y: f32[N,4,8,8], %z: f32[N,4,8,8] = Relu(%x)"),
         "<text>:4:38: 'Relu' gives 1 values, got 2 names."),
        (lines("%y: f32[N,4,8,8] = Relu(%x, %x)"), "<text>:4:20: 'Relu' takes 1 inputs, got 2."),
        (lines("%y: f32[N,4,8,8] = Add(%x)"), "<text>:4:20: Input 'b' of 'Add' is missing."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel=[2, 2]}"),
         "<text>:4:33: Unknown attribute 'kernel'. Did you mean 'kernel_size'?"),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x)"), "<text>:4:20: Attribute 'kernel_size' of 'MaxPool' is missing."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel_size=[2, 2, 2]}"),
         "<text>:4:33: Attribute 'kernel_size' of 'MaxPool': expected a list of 2 (each an integer), "
         "got [2, 2, 2]."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel_size=[2, 2.0]}"),
         "<text>:4:33: Attribute 'kernel_size' of 'MaxPool': expected an integer, got 2.0."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel_size=[2, 2], ceil_mode=1}"),
         "<text>:4:53: Attribute 'ceil_mode' of 'MaxPool': expected true or false, got 1."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel_size=[2, 2], kernel_size=[2, 2]}"),
         "<text>:4:53: Attribute 'kernel_size' is given twice."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel_size=[0, 2]}"),
         "<text>:4:20: Expected kernel_size as two positive integers, got (0, 2)."),
        (lines("%y: f32[N,4,8,8] = MaxPool(%x) {kernel_size=[9, 2]}"),
         "<text>:4:20: The window does not fit: input 8 with padding 0+0 is smaller than kernel 9."),
        (lines("%y: f32[N,4,8,8] = Relu(%x) {alpha=1.0}"),
         "<text>:4:30: Unknown attribute 'alpha'. 'Relu' has none."),
        (lines("%y: f32[N,4,8,8] = Add(%x, %x) {activation=Activation(kind=rellu)}"),
         "<text>:4:55: Attribute 'kind' of 'Activation': Unknown value 'rellu'. Did you mean 'relu'?"),
        (lines("%y: f32[N,4,8,8] = Add(%x, %x) {activation=relu}"),
         "<text>:4:33: Attribute 'activation' of 'Add': expected Activation(...) or none, got relu."),
        (lines("%y: f32[N,4,8,8] = Add(%x, %x) {activation=}"), "<text>:4:44: Expected a value, got '}'."),
        (lines('output "y" = %y'), "<text>:4:14: Unknown value 'y'. Known: x."),
        (lines('output "y" = %x', 'output "y" = %x'), "<text>:5:8: Output 'y' is given twice."),
        (lines("output y = %x"), "<text>:4:8: Expected an output's name in double quotes, got 'y = %x'."),
        (lines('output "\\q" = %x'), "<text>:4:8: Expected an output's name in double quotes, got '\"\\q\" = %x'."),
        (lines("const %c: f32[N,4]"), "<text>:4:19: Constant 'c' cannot have an unknown batch size."),
        (lines('output "y" = %x', "const %c: f32[4]"), "<text>:5:7: Expected no constant behind the first node, "
                                                        "got '%c: f32[4]'."),
        (lines("node y"), "<text>:4:1: Expected a statement, got 'node y'."),
        (lines('%y: f32[N,4,8,8] = Relu(%x) at "f":x'), "<text>:4:36: Expected a line number, got 'x'."),
    ],
)  # fmt: skip
def test_mistakes_are_reported_with_their_place(text: str, sentence: str) -> None:
    with pytest.raises(CnnirError) as caught:
        parse_graph(text)
    assert str(caught.value) == sentence


def test_weights_that_do_not_fit_are_named() -> None:
    tensors: dict[str, TensorData] = dict(tensors_of(example()))
    del tensors["conv.weight"]
    tensors["conv.bias"] = ArrayData(np.zeros(15, np.float32))
    tensors["fc.weight"] = ArrayData(np.zeros(1, np.float32))
    with pytest.raises(CnnirError) as caught:
        parse_graph(TEXT, tensors, source="net.cnnir")
    assert str(caught.value) == (
        "net.cnnir: The weights do not fit graph 'an example'. Missing: 'conv.weight'. Not used: 'fc.weight'. "
        "Of another type: 'conv.bias' expected f32[16], got f32[15]."
    )
    with pytest.raises(CnnirError, match=r"Missing: 'conv\.weight', 'conv\.bias'\."):
        parse_graph(TEXT)


def test_long_lists_of_names_are_cut() -> None:
    text = lines(*(f"const %c{i}: f32[1]" for i in range(20)))
    with pytest.raises(CnnirError, match=r"'c7' and 12 more\."):
        parse_graph(text)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("no.cnnir", None, "'no.cnnir' cannot be read: no such file or directory."),
        ("bin.cnnir", b"\xff\xfe\x00", "'bin.cnnir' is not a graph in text form: it is not UTF-8."),
        ("w.cnnir", b'cnnir 1\nweights "gone.safetensors"\n',
         "'gone.safetensors' cannot be read: no such file or directory."),
    ],
)  # fmt: skip
def test_unreadable_files(
    name: str, content: bytes | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(CnnirError) as caught:
        load_graph(Path(name))
    assert str(caught.value) == sentence


def test_files_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(CnnirError, match=r"ends in '\.cnnir'"):
        save_graph(example(), tmp_path / "net.txt")
    with pytest.raises(CnnirError, match="does not exist"):
        save_graph(example(), tmp_path / "no" / "net.cnnir")
    assert list(tmp_path.iterdir()) == []


# -- random graphs

NAMES = st.text(string.printable + "äöü\u2028😀%", min_size=1, max_size=8)
DTYPES = st.sampled_from([DType.F64, DType.F32, DType.F16, DType.BF16])
ACTIVATIONS = st.none() | st.builds(
    Activation, st.sampled_from(ActivationKind), st.floats(allow_nan=False), st.floats(allow_nan=False)
)
LOCS = st.none() | st.builds(Loc, NAMES, st.integers(0, 10**6), st.just("") | NAMES)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    dtype = draw(DTYPES)
    names = iter(draw(st.lists(NAMES, min_size=30, max_size=30, unique=True)))
    type = TensorType(dtype, (draw(st.sampled_from([BATCH, 1, 2])), 4, 6, 6))
    values = [Value(next(names), type, data=None)]
    inputs = list(values)
    nodes: list[Node] = []

    def array(*dims: int) -> ArrayData:
        seed = draw(st.integers(0, 3))
        return ArrayData(np.random.default_rng(seed).standard_normal(dims).astype(dtype.numpy))

    shared = array(4, 4, 3, 3)
    for _ in range(draw(st.integers(0, 6))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        common: dict[str, Any] = {
            "name": next(names),
            "loc": draw(LOCS),
            "origins": draw(st.lists(NAMES, max_size=2)),
            "layouts": [Layout(draw(st.sampled_from([8, 16])), (1, 0, 2, 0))] if draw(st.booleans()) else [],
        }
        kind = draw(st.sampled_from(["conv", "add", "concat", "pool", "clip"]))
        if kind == "conv":
            weight = Value.constant(next(names), shared if draw(st.booleans()) else array(4, 4, 3, 3))
            residual = b if draw(st.booleans()) else None
            attrs = conv.ConvAttrs((3, 3), pads=(1, 1, 1, 1), activation=draw(ACTIVATIONS))
            node = Node(conv.CONV, attrs, [a, weight, None, residual], **common)
        elif kind == "add":
            node = Node(elementwise.ADD, elementwise.BinaryAttrs(draw(ACTIVATIONS)), [a, b], **common)
        elif kind == "concat":
            cut = shape.SliceAttrs((1,), (draw(st.integers(-4, 2)),), (2**63 - 1,), (1,))
            node = Node(shape.SLICE, cut, [a], **common)
            if node.output.type.shape[1] != 4:
                nodes.append(node)
                rest = shape.SliceAttrs((1,), (0,), (4 - node.output.type.shape[1],), (1,))
                other = Node(shape.SLICE, rest, [b], name=next(names))
                nodes.append(other)
                node = Node(shape.CONCAT, shape.ConcatAttrs(), [node.output, other.output], name=next(names))
        elif kind == "pool":
            attrs_ = pool.AveragePoolAttrs((3, 3), pads=(1, 1, 1, 1), count_include_pad=draw(st.booleans()))
            node = Node(pool.AVERAGE_POOL, attrs_, [a], **common)
        else:
            low = draw(st.floats(allow_nan=False))
            node = Node(CLIP, ClipAttrs(low, draw(st.floats(low, allow_nan=False))), [a], **common)
        nodes.append(node)
        if draw(st.booleans()):
            node.output.name = next(names)
        values.append(node.output)
    outputs = {name: draw(st.sampled_from(values)) for name in draw(st.lists(NAMES, max_size=3, unique=True))}
    return Graph(draw(NAMES), inputs, outputs, nodes)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_random_graphs_come_back(graph: Graph) -> None:
    text = print_graph(graph)
    back = parse_graph(text, tensors_of(graph))
    assert difference(graph, back) is None
    assert difference(back, graph) is None
    assert print_graph(back) == text
    assert all(line.isascii() for line in text.splitlines())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_random_graphs_come_back_from_files(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> None:
    path = tmp_path_factory.mktemp("random") / "g.cnnir"
    save_graph(graph, path)
    assert difference(graph, load_graph(path)) is None


def test_bfloat16_weights(tmp_path: Path) -> None:
    x = Value("x", TensorType(DType.BF16, (2, 4)))
    c = constant("c", 2, 4, dtype=ml_dtypes.bfloat16)
    node = Node(operator("Add"), elementwise.BinaryAttrs(), [x, c], name="y")
    graph = Graph("g", [x], {"y": node.output}, [node])
    save_graph(graph, tmp_path / "g.cnnir")
    assert equal(graph, load_graph(tmp_path / "g.cnnir"))
