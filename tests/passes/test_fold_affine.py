"""`fold-affine`: constants a channel into the layer before or after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def after_conv(op: str, shape: str, order: str = "%conv, %c", bias: str = "") -> str:
    return f"""
    input %x: f64[N,3,4,4]
    const %w: f64[2,3,3,3]
    {"const %b: f64[2]" if bias else ""}
    const %c: f64[{shape}]
    %conv: f64[N,2,2,2] = Conv(%x, %w{bias}) {{kernel_size=[3, 3]}}
    %op: f64[N,2,2,2] = {op}({order})
    output "y" = %op
    """


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", ["", "1", "2,1,1", "1,2,1,1"])
@pytest.mark.parametrize("bias", ["", ", %b"])
def test_every_operator_and_shape_folds_into_the_convolution_before(
    lab: Any, op: str, shape: str, bias: str
) -> None:
    result = lab.run(after_conv(op, shape, bias=bias), "fold-affine")
    assert result.rewrote == ["op: folded into 'conv' before it"]
    (node,) = result.graph.nodes
    assert (node.op.name, node.name, node.origins) == ("Conv", "conv", ("conv", "op"))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_the_constant_may_come_first(lab: Any, op: str) -> None:
    assert lab.run(after_conv(op, "2,1,1", "%c, %conv"), "fold-affine").rewrote


def test_only_what_changes_gets_new_data(lab: Any) -> None:
    result = lab.becomes(
        after_conv("Add", "2,1,1"),
        "fold-affine",
        """
    input %x: f64[N,3,4,4]
    const %w: f64[2,3,3,3]
    const %conv.bias: f64[2]
    %conv: f64[N,2,2,2] = Conv(%x, %w, %conv.bias) {kernel_size=[3, 3]} from "conv", "op"
    output "y" = %conv
    """,
    )
    old = {v.name: v.data for v in result.before.constants()}
    new = {v.name: v.data for v in result.graph.constants()}
    assert new["w"] is old["w"]
    assert np.array_equal(new["conv.bias"].numpy(), old["c"].numpy().reshape(-1))


PREPROCESSING = """
    input %x: f64[N,3,4,4]
    const %mean: f64[3,1,1]
    const %std: f64[1,3,1,1]
    const %w: f64[2,3,3,3]
    const %b: f64[2]
    %centred: f64[N,3,4,4] = Sub(%x, %mean)
    %scaled: f64[N,3,4,4] = Div(%centred, %std)
    %conv: f64[N,2,{out},{out}] = Conv(%scaled, %w, %b) {{kernel_size=[3, 3]{pads}}}
    output "y" = %conv
"""


def test_preprocessing_folds_into_the_first_convolution(lab: Any) -> None:
    lab.becomes(
        PREPROCESSING.format(out=2, pads=""),
        "fold-affine",
        """
    input %x: f64[N,3,4,4]
    const %w: f64[2,3,3,3]
    const %b: f64[2]
    %conv: f64[N,2,2,2] = Conv(%x, %w, %b) {kernel_size=[3, 3]} from "centred", "scaled", "conv"
    output "y" = %conv
    """,
    )


def test_through_padding_only_the_scale_goes(lab: Any) -> None:
    result = lab.run(PREPROCESSING.format(out=4, pads=", pads=[1, 1, 1, 1]"), "fold-affine")
    assert result.rewrote == ["scaled: folded into 'conv' after it"]
    assert result.declined == [
        "centred: reads graph input 'x'",
        "centred: 'conv' after it pads with zeros, which the shift would not reach",
    ]


def test_dense(lab: Any) -> None:
    result = lab.run(
        """
    input %x: f64[N,3]
    const %a: f64[3]
    const %w: f64[2,3]
    const %c: f64[1,2]
    %shifted: f64[N,3] = Add(%x, %a)
    %fc: f64[N,2] = Gemm(%shifted, %w)
    %scaled: f64[N,2] = Mul(%fc, %c)
    output "y" = %scaled
    """,
        "fold-affine",
    )
    assert [node.op.name for node in result.graph.nodes] == ["Gemm"]


@pytest.mark.parametrize(
    ("graph", "reasons"),
    [
        (after_conv("Add", "2,2"), ["op: 'c' of type f64[2,2] is not one number a channel"]),
        (after_conv("Div", "2,1,1", "%c, %conv"), ["op: divides by a value that is not constant"]),
        (
            after_conv("Mul", "2,1,1").replace("f64", "f16"),
            ["op: 'c' is f16, which would be rounded a second time"],
        ),
        (
            after_conv("Mul", "2,1,1").replace('"y" = %op', '"y" = %op\n    output "z" = %conv'),
            ["op: 'conv' is the graph output 'z'"],
        ),
        (
            after_conv("Mul", "2,1,1").replace('output "y"', '%r: f64[N,2,2,2] = Add(%op, %conv)\n    output "y"')
            + '    output "z" = %r',
            ["op: 'conv' has 2 uses"],
        ),
        (
            after_conv("Mul", "1,2,1,1").replace(
                "%op: f64[N,2,2,2] = Mul(%conv, %c)", "%op: f64[N,2,2,2] = Mul(%conv, %conv)"
            ),
            [],
        ),
    ],
    ids=["not a channel's", "constant over value", "f16", "graph output", "two uses", "a square"],
)
def test_declines(lab: Any, graph: str, reasons: list[str]) -> None:
    if "Mul(%conv, %conv)" in graph:
        graph = graph.replace("const %c: f64[1,2,1,1]", "")
    lab.refuses(graph, "fold-affine", reasons)


def test_declines_what_broadcasts_the_other_way(lab: Any) -> None:
    lab.refuses(
        """
    input %x: f64[N,3,1,1]
    const %w: f64[1,3,1,1]
    const %c: f64[2,1,1]
    %conv: f64[N,1,1,1] = Conv(%x, %w) {kernel_size=[1, 1]}
    %op: f64[N,2,1,1] = Add(%conv, %c)
    output "y" = %op
    """,
        "fold-affine",
        ["op: 'c' broadcasts f64[N,1,1,1] to f64[N,2,1,1]"],
    )


def test_declines_division_by_zero(lab: Any) -> None:
    lab.refuses(
        after_conv("Div", "2,1,1"), "fold-affine", ["op: the scale or shift of 'op' is not finite"], {"c": 0.0}
    )
