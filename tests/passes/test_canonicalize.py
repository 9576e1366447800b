"""`canonicalize`: one spelling for things that are the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest


def single(node: str, out: str) -> str:
    return f"""
    input %x: f64[N,3,4,5]
    %a: f64[{out}] = {node}
    output "y" = %a
    """


@pytest.mark.parametrize(
    ("node", "out", "becomes"),
    [
        ("ReduceMean(%x) {axes=[2, 3]}", "N,3,1,1", "GlobalAveragePool(%x)"),
        ("ReduceMean(%x) {axes=[-1, -2]}", "N,3,1,1", "GlobalAveragePool(%x)"),
        ("ReduceMax(%x) {axes=[2, 3]}", "N,3,1,1", "GlobalMaxPool(%x)"),
        ("AveragePool(%x) {kernel_size=[4, 5]}", "N,3,1,1", "GlobalAveragePool(%x)"),
        ("AveragePool(%x) {kernel_size=[4, 5], stride=[4, 5], ceil_mode=true}", "N,3,1,1", "GlobalAveragePool(%x)"),
        ("MaxPool(%x) {kernel_size=[4, 5], stride=[3, 3]}", "N,3,1,1", "GlobalMaxPool(%x)"),
        ("Reshape(%x) {shape=[0, -1]}", "N,60", "Flatten(%x)"),
        ("Reshape(%x) {shape=[-1, 60]}", "N,60", "Flatten(%x)"),
        ("Clip(%x) {min=0.0, max=inf}", "N,3,4,5", "Relu(%x)"),
    ],
)
def test_one_node_becomes_another(lab: Any, node: str, out: str, becomes: str) -> None:
    result = lab.becomes(single(node, out), "canonicalize", single(becomes, out))
    assert len(result.rewrote) == 1


def test_a_mean_without_its_axes(lab: Any) -> None:
    lab.becomes(
        single("ReduceMean(%x) {axes=[2, 3], keepdims=false}", "N,3"),
        "canonicalize",
        """
    input %x: f64[N,3,4,5]
    %a.pool: f64[N,3,1,1] = GlobalAveragePool(%x) from "a"
    %a: f64[N,3] = Flatten(%a.pool)
    output "y" = %a
    """,
    )


@pytest.mark.parametrize(
    ("node", "out"),
    [
        ("AveragePool(%x) {kernel_size=[4, 5], pads=[1, 0, 0, 0]}", "N,3,2,1"),
        ("AveragePool(%x) {kernel_size=[4, 4]}", "N,3,1,2"),
        ("Reshape(%x) {shape=[0, 12, 5]}", "N,12,5"),
        ("Clip(%x) {min=0.0, max=6.0}", "N,3,4,5"),
        ("Clip(%x) {min=-1.0, max=inf}", "N,3,4,5"),
    ],
)
def test_other_attributes_must_not_fire(lab: Any, node: str, out: str) -> None:
    lab.refuses(single(node, out), "canonicalize", [])


@pytest.mark.parametrize(("axes", "out"), [("[1]", "1,4,5"), ("[1, 2, 3]", "1,1,1"), ("[3]", "3,4,1")])
def test_other_axes_must_not_fire(lab: Any, axes: str, out: str) -> None:
    reason = f"a: reduces axes {axes} of f64[N,3,4,5], not height and width"
    lab.refuses(single(f"ReduceMean(%x) {{axes={axes}}}", f"N,{out}"), "canonicalize", [reason])


def flattened(perm: str, shape: str, transposed: str, last: str, columns: int) -> str:
    return f"""
    input %x: f64[{shape}]
    %a: f64[{transposed}] = Transpose(%x) {{perm=[{perm}]}}
    %b: f64[N,{columns}] = {last}
    output "y" = %b
    """


@pytest.mark.parametrize("last", ["Flatten(%a)", "Reshape(%a) {shape=[0, -1]}", "Squeeze(%a) {axes=[1, 2]}"])
def test_flattening_reads_past_a_transposition_that_moves_nothing(lab: Any, last: str) -> None:
    lab.becomes(
        flattened("0, 2, 3, 1", "N,7,1,1", "N,1,1,7", last, 7),
        "canonicalize",
        """
    input %x: f64[N,7,1,1]
    %b: f64[N,7] = Flatten(%x)
    output "y" = %b
    """,
    )


def test_a_transposition_with_other_readers_stays_for_them(lab: Any) -> None:
    graph = flattened("0, 2, 3, 1", "N,7,1,1", "N,1,1,7", "Flatten(%a)", 7) + '    output "z" = %a'
    result = lab.run(graph, "canonicalize")
    assert [node.op.name for node in result.graph.nodes] == ["Transpose", "Flatten"]
    assert result.graph.nodes[1].inputs[0] is result.graph.inputs[0]


def test_a_transposition_that_moves_elements_stays(lab: Any) -> None:
    lab.refuses(
        flattened("0, 2, 3, 1", "N,7,2,1", "N,2,1,7", "Flatten(%a)", 14),
        "canonicalize",
        ["b: 'a' before it moves elements of f64[N,7,2,1]"],
    )


def gated(gate: str, product: str = "Mul(%x, %g)", more: str = "") -> str:
    return f"""
    input %x: f64[N,3,4,5]
    %g: f64[N,3,4,5] = {gate}
    %y: f64[N,3,4,5] = {product}
    output "y" = %y{more}
    """


@pytest.mark.parametrize("product", ["Mul(%x, %g)", "Mul(%g, %x)"])
@pytest.mark.parametrize(
    ("gate", "op"),
    [("Sigmoid(%x)", "Swish"), (f"HardSigmoid(%x) {{alpha={1 / 6!r}, beta=0.5}}", "HardSwish")],
)
def test_a_value_times_its_own_gate(lab: Any, product: str, gate: str, op: str) -> None:
    result = lab.run(gated(gate, product), "canonicalize")
    assert result.rewrote == [f"y: is {op}"]
    assert [(node.op.name, node.origins) for node in result.graph.nodes] == [(op, ("g", "y"))]


@pytest.mark.parametrize(
    ("graph", "reasons"),
    [
        (gated("Sigmoid(%x)", more='\n    output "g" = %g'), ["y: 'g' is the graph output 'g'"]),
        (gated("Sigmoid(%x)", "Mul(%g, %g)"), ["y: 'g' has 2 uses"]),
        (
            gated("HardSigmoid(%x) {alpha=0.2, beta=0.5}"),
            ["y: 'g' has slope 0.2 and offset 0.5, not 1/6 and 1/2"],
        ),
        (gated("Sigmoid(%x)", "Mul(%x, %g) {activation=Activation(kind=relu)}"), ["y: carries an activation"]),
        (gated("Sigmoid(%x)").replace("Mul(%x, %g)", "Add(%x, %g)"), []),
    ],
)
def test_gates_that_stay(lab: Any, graph: str, reasons: list[str]) -> None:
    lab.refuses(graph, "canonicalize", reasons)


def test_the_gate_of_another_value_stays(lab: Any) -> None:
    lab.refuses(
        """
    input %x: f64[N,3,4,5]
    input %z: f64[N,3,1,1]
    %g: f64[N,3,1,1] = Sigmoid(%z)
    %y: f64[N,3,4,5] = Mul(%x, %g)
    output "y" = %y
    """,
        "canonicalize",
        [],
    )


def test_one_sixth_in_single_precision_counts(lab: Any) -> None:
    alpha = float(np.float32(1 / 6))
    assert not math.isclose(alpha, 1 / 6, rel_tol=1e-9)
    result = lab.run(gated(f"HardSigmoid(%x) {{alpha={alpha!r}, beta=0.5}}"), "canonicalize", bound=2**-23)
    assert result.rewrote == ["y: is HardSwish"]
