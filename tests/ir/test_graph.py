"""The graph's own rules: what `verify` catches, what rewriting keeps right, names, equality."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from cnnir.errors import ShapeError, VerificationError
from cnnir.ir import BATCH, ArrayData, DType, Graph, Layout, Loc, Node, TensorType, Value
from cnnir.ir.equality import difference, equal
from cnnir.ops import conv, elementwise, shape
from cnnir.ops.activation import RELU, SIGMOID, NoAttrs
from cnnir.ops.elementwise import BinaryAttrs


def make(weight_seed: int = 0) -> Graph:
    x = Value("x", TensorType(DType.F32, (BATCH, 4, 6, 6)))
    array = np.random.default_rng(weight_seed).standard_normal((4, 4, 3, 3)).astype(np.float32)
    w = Value.constant("w", ArrayData(array))
    attrs = conv.ConvAttrs((3, 3), pads=(1, 1, 1, 1))
    c = Node(conv.CONV, attrs, [x, w, None, None], name="c", loc=Loc("net.py", 3))
    r = Node(RELU, NoAttrs(), [c.output], name="r")
    a = Node(elementwise.ADD, BinaryAttrs(), [r.output, x], name="a")
    return Graph("g", [x], {"y": a.output}, [c, r, a])


def swap_order(g: Graph) -> None:
    g.nodes.reverse()


def drop_use(g: Graph) -> None:
    value = g.node("c").output
    value._uses.clear()


def invent_use(g: Graph) -> None:
    g.inputs[0]._uses[(g.node("r"), 0)] = None


def retype(g: Graph) -> None:
    g.node("r").output.type = TensorType(DType.F32, (BATCH, 4, 6, 5))


def misfit(g: Graph) -> None:
    g.node("c").set_input(0, Value("bad", TensorType(DType.F32, (BATCH, 5, 6, 6))))
    g.inputs[0] = next(v for v in g.node("c").inputs if v is not None)
    g.node("a").set_input(1, g.node("r").output)


def same_value_names(g: Graph) -> None:
    g.node("r").output.name = "x"


def same_node_names(g: Graph) -> None:
    g.node("r").name = "c"


def foreign_output(g: Graph) -> None:
    g.outputs["z"] = Value("stranger", TensorType(DType.F32, (1,)))


def foreign_input(g: Graph) -> None:
    g.node("r").set_input(0, Value("stranger", TensorType(DType.F32, (BATCH, 4, 6, 6))))


def lost_node(g: Graph) -> None:
    g.nodes.remove(g.node("r"))


def missing_input(g: Graph) -> None:
    g.node("a").set_input(1, None)


def too_many_inputs(g: Graph) -> None:
    node = g.node("r")
    node.inputs = (*node.inputs, None)


def other_weight(g: Graph) -> None:
    g.node("c").set_input(1, Value.constant("w", ArrayData(np.zeros((4, 4, 5, 5), np.float32))))


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (swap_order, "node 'a': 'r' is read before it is defined."),
        (drop_use, "node 'r': The use list of 'c' misses input 0."),
        (invent_use, "'x' lists a use by 'r' that is not there."),
        (retype, "node 'r': The type of 'r' is stale."),
        (misfit,
         "node 'c': Inputs no longer fit: net.py:3: Expected a weight of shape [O,5,3,3], got f32[4,4,3,3]."),
        (same_value_names, "Two values are called 'x'."),
        (same_node_names, "Two nodes are called 'c'."),
        (foreign_output, "Output 'z' is 'stranger', which nothing defines."),
        (foreign_input, "node 'r': 'stranger' is read before it is defined."),
        (lost_node, "node 'a': 'r' is read before it is defined."),
        (missing_input, "node 'a': Input 'b' of 'Add' is missing."),
        (too_many_inputs, "node 'r': 'Relu' takes 1 inputs, got 2."),
        (other_weight, "node 'c': Inputs no longer fit: net.py:3: Expected a weight of shape [O,4,3,3], "
                       "got f32[4,4,5,5]."),
    ],
)  # fmt: skip
def test_verify_catches(break_it: Callable[[Graph], None], sentence: str) -> None:
    graph = make()
    graph.verify()
    break_it(graph)
    with pytest.raises(VerificationError) as caught:
        graph.verify()
    assert str(caught.value) == sentence


def test_an_ill_typed_node_cannot_be_built() -> None:
    a, b = (Value(n, TensorType(DType.F32, (2, size))) for n, size in (("a", 3), ("b", 4)))
    with pytest.raises(ShapeError, match=r"net\.py:7: 'Add' cannot broadcast") as caught:
        Node(elementwise.ADD, BinaryAttrs(), [a, b], name="sum", loc=Loc("net.py", 7))
    assert caught.value.at == "net.py:7"
    assert a.uses == b.uses == ()


def test_replacing_keeps_uses_and_outputs_right() -> None:
    graph = make()
    r = graph.node("r")
    s = Node(SIGMOID, NoAttrs(), [graph.node("c").output], name="s")
    graph.insert_before(r, s)
    graph.replace_value(r.output, s.output)
    graph.erase([r])
    graph.verify()
    assert [n.name for n in graph.nodes] == ["c", "s", "a"]
    graph.replace_value(graph.node("a").output, s.output)
    assert graph.outputs["y"] is s.output
    with pytest.raises(VerificationError, match="'s' is still used"):
        graph.erase([s])
    graph.erase([graph.node("a")])
    graph.verify()
    assert graph.inputs[0].uses == ((graph.node("c"), 0),)


def test_one_value_at_two_ports() -> None:
    x = Value("x", TensorType(DType.F32, (2,)))
    y = Value("y", TensorType(DType.F32, (2,)))
    node = Node(elementwise.MUL, BinaryAttrs(), [x, x], name="square")
    assert x.uses == ((node, 0), (node, 1))
    x.replace_uses(y)
    assert x.uses == () and node.inputs == (y, y)


def test_clone_shares_weights_and_fixes_the_batch() -> None:
    graph = make()
    graph.node("c").output.type = graph.node("c").output.type.with_layout(Layout(8))
    copy = graph.clone()
    copy.verify()
    assert equal(graph, copy)
    assert next(copy.constants()).data is next(graph.constants()).data
    four = graph.clone(batch=4)
    four.verify()
    assert four.outputs["y"].type.shape == (4, 4, 6, 6)
    assert four.node("c").output.type.layout == Layout(8)
    assert difference(graph, four) == "Input 'x': 'x' is f32[N,4,6,6] here and f32[4,4,6,6] there."


def test_fresh_names() -> None:
    graph = make()
    assert graph.fresh_name("new") == "new"
    for taken in ("x", "w", "c"):  # an input, a constant, a node
        assert graph.fresh_name(taken) == f"{taken}_1"
    graph.node("r").output.name = "c_1"
    assert graph.fresh_name("c") == "c_2"
    graph.node("a").name = "c_2"
    assert graph.fresh_name("c") == "c_3"
    graph.outputs["const"] = Value.constant("k", ArrayData(np.zeros(1, np.float32)))
    assert graph.fresh_name("k") == "k_1"


def test_fresh_names_are_cheap() -> None:
    x = Value("x", TensorType(DType.F32, (2,)))
    nodes: list[Node] = []
    for i in range(500):
        nodes.append(Node(RELU, NoAttrs(), [nodes[-1].output if nodes else x], name=f"n{i}"))
    graph = Graph("g", [x], {}, nodes)
    start = time.perf_counter()
    for i in range(300):
        assert graph.fresh_name(f"n{i}") == f"n{i}_1"
    assert time.perf_counter() - start < 2  # about 0.05 s on an idle machine


# -- equality


def rename_value(g: Graph) -> None:
    g.node("r").output.name = "other"


def rename_node(g: Graph) -> None:
    g.node("r").name = "other"


def relocate(g: Graph) -> None:
    g.node("r").loc = Loc("elsewhere.py", 1)


def new_origins(g: Graph) -> None:
    g.node("r").origins = ("c", "r")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename_value, "Node 'r': it is called 'r' here and 'other' there."),
        (rename_node, "Node 'r': its name: r here and other there."),
        (relocate, "Node 'r': its location: None here and elsewhere.py:1 there."),
        (new_origins, "Node 'r': its origins: ('r',) here and ('c', 'r') there."),
    ],
)
def test_names_may_be_left_out_of_a_comparison(change: Callable[[Graph], None], sentence: str) -> None:
    other = make()
    change(other)
    assert difference(make(), other) == sentence
    assert equal(make(), other, names=False)


def drop_last(g: Graph) -> None:
    g.outputs["y"] = g.node("r").output
    g.erase([g.node("a")])


def other_attributes(g: Graph) -> None:
    g.node("c").attrs = conv.ConvAttrs((3, 3), pads=(1, 1, 1, 1), dilation=(1, 1), groups=2)


def other_wiring(g: Graph) -> None:
    g.node("a").set_input(1, g.node("r").output)


def other_operator(g: Graph) -> None:
    s = Node(SIGMOID, NoAttrs(), [g.node("c").output], name="s")
    g.insert_before(g.node("r"), s)
    g.replace_value(g.node("r").output, s.output)
    g.erase([g.node("r")])


def other_output(g: Graph) -> None:
    g.outputs["y"] = g.node("r").output


def other_output_name(g: Graph) -> None:
    g.outputs["z"] = g.outputs.pop("y")


def other_layout(g: Graph) -> None:
    g.node("r").output.type = g.node("r").output.type.with_layout(Layout(8))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop_last, "Node 'a' (Add) is only here."),
        (other_wiring, "Node 'a': it reads 'x' here and 'r' there."),
        (other_operator, "Node 'r': it is a Relu here and a Sigmoid there."),
        (other_output, "Output 'y': it reads 'a' here and 'r' there."),
        (other_output_name, "The outputs are ['y'] here and ['z'] there."),
        (other_layout, "Node 'r': 'r' is f32[N,4,6,6] here and f32[N,4,6,6]@nchw8c there."),
    ],
)
def test_differences_are_found(change: Callable[[Graph], None], sentence: str) -> None:
    other = make()
    change(other)
    for names in (True, False):
        assert difference(make(), other, names=names) == sentence


def test_attributes_and_elements_are_compared() -> None:
    other = make()
    other_attributes(other)
    assert "groups=1" in str(difference(make(), other)) and "groups=2" in str(difference(make(), other))
    assert difference(make(0), make(1)) == "Node 'c': the elements of 'w' differ."
    assert equal(make(1), make(1))


def test_sharing_is_compared() -> None:
    """Two constants of equal elements are not one constant read twice: training would tell them apart."""

    def tied(twice: bool) -> Graph:
        a = Value.constant("k", ArrayData(np.ones(2, np.float32)))
        b = a if twice else Value.constant("k", ArrayData(np.ones(2, np.float32)))
        node = Node(shape.CONCAT, shape.ConcatAttrs(0), [a, b], name="n")
        return Graph("g", [], {"y": node.output}, [node])

    assert equal(tied(True), tied(True)) and equal(tied(False), tied(False))
    assert difference(tied(True), tied(False)) == "Node 'n': it reads 'k' here and 'k' there."
    assert difference(tied(False), tied(True)) == "Node 'n': it reads 'k' here and 'k' there."
