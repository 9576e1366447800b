"""`remove-identity`, `dce`, `cse`, `constant-folding`: passes that move no arithmetic into weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cnnir.ops
from cnnir.ir import ArrayData, DType, LazyData
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline

assert cnnir.ops


def single(node: str, out: str = "N,3,4,4", const: str = "") -> str:
    return f"""
    input %x: f64[N,3,4,4]
    {const}
    %a: f64[N,3,4,4] = Relu(%x)
    %b: f64[{out}] = {node}
    %c: f64[{out}] = Neg(%b)
    output "y" = %c
    """


@pytest.mark.parametrize(
    "node",
    [
        "Identity(%a)",
        "Dropout(%a) {ratio=0.3}",
        "Pad(%a) {pads=[0, 0, 0, 0, 0, 0, 0, 0], value=3.0}",
        "Transpose(%a) {perm=[0, 1, 2, 3]}",
        "Reshape(%a) {shape=[0, 3, -1, 4]}",
        "Concat(%a)",
        "Slice(%a) {axes=[1, 2], starts=[0, 0], ends=[3, 100], steps=[1, 1]}",
        "MaxPool(%a) {kernel_size=[1, 1]}",
        "AveragePool(%a) {kernel_size=[1, 1]}",
    ],
)
def test_identities_go(lab: Any, node: str) -> None:
    lab.becomes(
        single(node),
        "remove-identity",
        """
    input %x: f64[N,3,4,4]
    %a: f64[N,3,4,4] = Relu(%x)
    %c: f64[N,3,4,4] = Neg(%a)
    output "y" = %c
    """,
    )


@pytest.mark.parametrize(
    ("node", "value"),
    [("Add(%a, %k)", 0), ("Add(%k, %a)", 0), ("Sub(%a, %k)", 0), ("Mul(%k, %a)", 1), ("Div(%a, %k)", 1)],
)
def test_neutral_constants_go(lab: Any, node: str, value: float) -> None:
    graph = single(node, const="const %k: f64[3,1,1]")
    assert lab.run(graph, "remove-identity", {"k": value}).rewrote == [
        f"b: removed, {node.partition('(')[0]} changes nothing here"
    ]
    lab.refuses(graph, "remove-identity", [], {"k": [[[value]], [[value]], [[value + 1e-6]]]})


@pytest.mark.parametrize(
    ("node", "out"),
    [
        ("Slice(%a) {axes=[2], starts=[100], ends=[-100], steps=[-1]}", "N,3,4,4"),
        ("Transpose(%a) {perm=[0, 1, 3, 2]}", "N,3,4,4"),
        ("Reshape(%a) {shape=[0, 4, 3, 4]}", "N,4,3,4"),
        ("Pad(%a) {pads=[0, 0, 0, 0, 0, 0, 0, 1]}", "N,3,4,5"),
        ("Concat(%a, %a)", "N,6,4,4"),
        ("MaxPool(%a) {kernel_size=[1, 1], stride=[2, 2]}", "N,3,2,2"),
        ("MaxPool(%a) {kernel_size=[3, 3], pads=[1, 1, 1, 1]}", "N,3,4,4"),
        ("Sub(%k, %a)", "N,3,4,4"),
        ("Div(%k, %a)", "N,3,4,4"),
        ("Add(%a, %k) {activation=Activation(kind=relu)}", "N,3,4,4"),
    ],
)
def test_what_only_looks_like_an_identity_stays(lab: Any, node: str, out: str) -> None:
    value = 1.0 if node.startswith("Div") else 0.0
    const = "const %k: f64[3,1,1]" if "%k" in node else ""
    lab.refuses(single(node, out, const), "remove-identity", [], {"k": value})


def test_a_broadcasting_zero_is_no_identity(lab: Any) -> None:
    graph = """
    input %x: f64[N,1,4,4]
    const %k: f64[3,1,1]
    %b: f64[N,3,4,4] = Add(%x, %k)
    output "y" = %b
    """
    lab.refuses(graph, "remove-identity", [], {"k": 0})


def test_transpositions_merge(lab: Any) -> None:
    lab.becomes(
        """
    input %x: f64[N,3,4,5]
    %r: f64[N,3,4,5] = Relu(%x)
    %a: f64[N,4,5,3] = Transpose(%r) {perm=[0, 2, 3, 1]}
    %b: f64[N,3,5,4] = Transpose(%a) {perm=[0, 3, 2, 1]}
    %c: f64[N,3,4,5] = Transpose(%a) {perm=[0, 3, 1, 2]}
    output "swapped" = %b
    output "same" = %c
    """,
        "remove-identity",
        """
    input %x: f64[N,3,4,5]
    %r: f64[N,3,4,5] = Relu(%x)
    %b: f64[N,3,5,4] = Transpose(%r) {perm=[0, 1, 3, 2]}
    output "swapped" = %b
    output "same" = %r
    """,
    )


def test_an_input_is_handed_on_by_a_node(lab: Any) -> None:
    graph = """
    input %x: f64[N,3]
    %a: f64[N,3] = Identity(%x)
    output "y" = %a
    """
    lab.refuses(graph, "remove-identity", ["a: hands graph input 'x' on to graph output 'y'"])


def test_output_names_survive_the_nodes_that_gave_them(lab: Any) -> None:
    result = lab.run(
        """
    input %x: f64[N,3]
    %a: f64[N,3] = Relu(%x)
    %b: f64[N,3] = Dropout(%a)
    output "logits" = %b
    output "features" = %a
    """,
        "inference",
    )
    assert list(result.graph.outputs) == ["logits", "features"]
    assert result.graph.outputs["logits"] is result.graph.outputs["features"]


def test_dead_chains_go_and_inputs_stay(lab: Any) -> None:
    result = lab.becomes(
        """
    input %x: f64[N,3]
    input %unused: f64[N,2]
    %a: f64[N,3] = Relu(%x)
    %b: f64[N,3] = Neg(%a)
    %c: f64[N,3] = Add(%a, %b)
    %d: f64[N,2] = Abs(%unused)
    output "y" = %a
    """,
        "dce",
        """
    input %x: f64[N,3]
    input %unused: f64[N,2]
    %a: f64[N,3] = Relu(%x)
    output "y" = %a
    """,
    )
    assert [r.partition(":")[0] for r in result.rewrote] == ["d", "c", "b"]


def test_dce_keeps_outputs_in_the_middle(lab: Any) -> None:
    lab.refuses(
        """
    input %x: f64[N,3]
    %a: f64[N,3] = Relu(%x)
    %b: f64[N,3] = Neg(%a)
    output "middle" = %a
    output "y" = %b
    """,
        "dce",
        [],
    )


TWINS = """
    input %x: f64[N,3,4,4]
    const %v: f64[2,3,3,3]
    const %w: f64[2,3,3,3]
    %a: f64[N,2,2,2] = Conv(%x, %v) {{kernel_size=[3, 3]}}
    %b: f64[N,2,2,2] = Conv(%x, %w) {{kernel_size=[3, 3]{more}}}
    %s: f64[N,2,2,2] = Sub(%a, %b)
    output "y" = %s
"""


def test_equal_convolutions_become_one_chain(lab: Any) -> None:
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    lab.becomes(
        TWINS.format(more=""),
        "cse",
        """
    input %x: f64[N,3,4,4]
    const %v: f64[2,3,3,3]
    %a: f64[N,2,2,2] = Conv(%x, %v) {kernel_size=[3, 3]}
    %s: f64[N,2,2,2] = Sub(%a, %a)
    output "y" = %s
    """,
        {"v": weight, "w": weight},
    )


def test_one_element_makes_another_weight(lab: Any) -> None:
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    for at in (0, 53):  # the first of the 54 elements, and the last
        other = weight.copy()
        other.flat[at] += 1e-12
        lab.refuses(TWINS.format(more=""), "cse", [], {"v": weight, "w": other})


def test_a_difference_behind_the_probe_is_seen(lab: Any) -> None:
    graph = TWINS.format(more="").replace("2,3,3,3", "9,3,3,3").replace("N,2,2,2", "N,9,2,2")
    weight = np.random.default_rng(0).normal(size=(9, 3, 3, 3))
    other = weight.copy()
    other.flat[-1] += 1e-12
    lab.refuses(graph, "cse", [], {"v": weight, "w": other})
    assert lab.run(graph, "cse", {"v": weight, "w": weight}).rewrote == ["b: is the same as 'a'"]


def test_other_attributes_make_another_node(lab: Any) -> None:
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    lab.refuses(TWINS.format(more=", activation=Activation(kind=relu)"), "cse", [], {"v": weight, "w": weight})


def test_negative_zero_is_another_constant(lab: Any) -> None:
    graph = """
    input %x: f64[N,3]
    const %p: f64[3]
    const %n: f64[3]
    %a: f64[N,3] = Mul(%x, %p)
    %b: f64[N,3] = Mul(%x, %n)
    %s: f64[N,3] = Add(%a, %b)
    output "y" = %s
    """
    lab.refuses(graph, "cse", [], {"p": 0.0, "n": -0.0})
    assert lab.run(graph, "cse", {"p": 0.0, "n": 0.0}).rewrote == ["b: is the same as 'a'"]


def test_operands_commute_where_the_operator_does(lab: Any) -> None:
    graph = """
    input %x: f64[N,3]
    input %z: f64[N,3]
    %a: f64[N,3] = {op}(%x, %z)
    %b: f64[N,3] = {op}(%z, %x)
    %s: f64[N,3] = Add(%a, %b)
    output "y" = %s
    """
    assert lab.run(graph.format(op="Mul"), "cse").rewrote == ["b: is the same as 'a'"]
    lab.refuses(graph.format(op="Sub"), "cse", [])


def test_equal_chains_become_one_in_a_single_run(lab: Any) -> None:
    result = lab.run(
        """
    input %x: f64[N,3]
    %a: f64[N,3] = Relu(%x)
    %b: f64[N,3] = Relu(%x)
    %c: f64[N,3] = Neg(%a)
    %d: f64[N,3] = Neg(%b)
    output "first" = %c
    output "second" = %d
    """,
        "cse",
    )
    assert result.rewrote == ["b: is the same as 'a'", "d: is the same as 'c'"]
    assert result.graph.outputs["first"] is result.graph.outputs["second"]


def test_weights_that_nothing_else_makes_equal_are_not_read(lab: Any) -> None:
    graph = lab.graph(TWINS.format(more=", stride=[2, 2]").replace("%b: f64[N,2,2,2]", "%b: f64[N,2,1,1]"))

    def load() -> Any:
        raise AssertionError("the weight was asked for")

    for node in graph.nodes[:2]:
        node.inputs[1].data = LazyData((2, 3, 3, 3), DType.F64, load)
    PassManager(parse_pipeline("cse")).run(graph)


CONSTANTS = """
    input %x: f64[N,3,4,4]
    const %a: f64[3,1,1]
    const %b: f64[3,1,1]
    %sum: f64[3,1,1] = Add(%a, %b)
    %root: f64[3,1,1] = Exp(%sum)
    %y: f64[N,3,4,4] = Mul(%x, %root)
    output "y" = %y
"""


def test_constants_are_computed(lab: Any) -> None:
    result = lab.becomes(
        CONSTANTS,
        "constant-folding",
        """
    input %x: f64[N,3,4,4]
    const %root: f64[3,1,1]
    %y: f64[N,3,4,4] = Mul(%x, %root)
    output "y" = %y
    """,
    )
    a, b = (v.data.numpy() for v in result.before.constants())
    assert np.array_equal(result.constant("root"), np.exp(a + b))


def test_constants_of_sixteen_bits_are_rounded_once(lab: Any) -> None:
    result = lab.run(CONSTANTS.replace("f64", "f16"), "constant-folding", bound=2**-9)
    a, b = (v.data.numpy().astype(np.float64) for v in result.before.constants())
    # The sum is a value of the graph, so it is rounded; the exponential once more.
    expected = np.exp((a + b).astype(np.float16).astype(np.float64)).astype(np.float16)
    assert result.constant("root").dtype == np.float16
    assert np.array_equal(result.constant("root"), expected)


def test_what_would_blow_up_is_not_computed(lab: Any) -> None:
    graph = """
    input %x: f64[40,30]
    const %a: f64[40,1]
    const %b: f64[30]
    %outer: f64[40,30] = Mul(%a, %b)
    %y: f64[40,30] = Add(%x, %outer)
    output "y" = %y
    """
    lab.refuses(
        graph,
        "constant-folding{max_elements=1199}",
        ["outer: the result would have 1200 elements, more than 1199 and than its inputs"],
    )
    parsed = lab.graph(graph)
    assert PassManager(parse_pipeline("constant-folding{max_elements=1200}")).run(parsed)[0].changed


def test_what_does_not_grow_is_computed_at_any_size(lab: Any) -> None:
    graph = lab.graph(
        """
    input %x: f64[N,30]
    const %w: f64[30,40]
    %t: f64[40,30] = Transpose(%w) {perm=[1, 0]}
    %y: f64[N,40] = Gemm(%x, %t)
    output "y" = %y
    """
    )
    assert PassManager(parse_pipeline("constant-folding{max_elements=1}")).run(graph)[0].changed


def test_a_constant_output_keeps_its_node(lab: Any) -> None:
    lab.refuses(
        """
    input %x: f64[N,3]
    const %a: f64[3]
    %b: f64[3] = Neg(%a)
    output "y" = %b
    """,
        "constant-folding",
        ["b: 'b' is the graph output 'y'"],
    )


def test_quantised_weights_stay_quantised_unless_asked(lab: Any) -> None:
    text = """
    input %x: f32[N,3]
    const %w: i8[4,3]
    const %scale: f32[4]
    const %zero: i8[4]
    %dq: f32[4,3] = DequantizeLinear(%w, %scale, %zero) {axis=0}
    %y: f32[N,4] = Gemm(%x, %dq)
    output "y" = %y
    """
    lab.refuses(text, "constant-folding", ["dq: is a quantised weight"])
    graph = lab.graph(text)
    levels = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    scale = np.array([0.5, 1, 2, 4], np.float32)
    w, s, z = graph.nodes[0].inputs
    w.data, s.data, z.data = ArrayData(levels), ArrayData(scale), ArrayData(np.ones(4, np.int8))
    assert PassManager(parse_pipeline("constant-folding{dequantize=true}")).run(graph)[0].changed
    (weight,) = graph.constants()
    assert np.array_equal(weight.data.numpy(), (levels - 1.0) * scale[:, None])
