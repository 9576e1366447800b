"""`fuse-epilogue`: bias, residual addition, activation."""

from __future__ import annotations

from typing import Any

import pytest

HEAD = """
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
"""
CONV = "    %conv: f64[N,4,5,5] = Conv(%x, %w) {kernel_size=[1, 1]}\n"


def test_bias_residual_and_activation_in_that_order(lab: Any) -> None:
    result = lab.becomes(
        """
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
    const %b: f64[4,1,1]
    %conv: f64[N,4,5,5] = Conv(%x, %w) {kernel_size=[1, 1]}
    %biased: f64[N,4,5,5] = Add(%b, %conv)
    %sum: f64[N,4,5,5] = Add(%biased, %x)
    %relu: f64[N,4,5,5] = Relu(%sum)
    output "y" = %relu
    """,
        "fuse-epilogue",
        """
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
    const %b: f64[4]
    %conv: f64[N,4,5,5] = Conv(%x, %w, %b, %x) {kernel_size=[1, 1], activation=Activation(kind=relu)} \
from "conv", "biased", "sum", "relu"
    output "y" = %conv
    """,
    )
    assert result.rewrote == [
        "biased: fused into 'conv' as its bias",
        "sum: fused into 'conv' as its residual",
        "relu: fused into 'conv' as its activation (relu)",
    ]
    assert next(v for v in result.graph.constants() if v.name == "w").data is next(result.before.constants()).data


def test_dense_takes_bias_and_activation(lab: Any) -> None:
    result = lab.becomes(
        """
    input %x: f64[N,3]
    const %w: f64[4,3]
    const %b: f64[4]
    %fc: f64[N,4] = Gemm(%x, %w)
    %sum: f64[N,4] = Add(%fc, %b)
    %act: f64[N,4] = Clip(%sum) {min=0.0, max=6.0}
    output "y" = %act
    """,
        "fuse-epilogue",
        """
    input %x: f64[N,3]
    const %w: f64[4,3]
    const %b: f64[4]
    %fc: f64[N,4] = Gemm(%x, %w, %b) {activation=Activation(kind=clip, beta=6.0)} from "fc", "sum", "act"
    output "y" = %fc
    """,
    )
    data = {v.name: v.data for v in result.before.constants()}
    assert all(v.data is data[v.name] for v in result.graph.constants())


def test_an_activation_fuses_into_an_addition(lab: Any) -> None:
    lab.becomes(
        """
    input %x: f64[N,4,5,5]
    %sum: f64[N,4,5,5] = Add(%x, %x)
    %relu: f64[N,4,5,5] = Relu(%sum)
    output "y" = %relu
    """,
        "fuse-epilogue",
        """
    input %x: f64[N,4,5,5]
    %sum: f64[N,4,5,5] = Add(%x, %x) {activation=Activation(kind=relu)} from "sum", "relu"
    output "y" = %sum
    """,
    )


@pytest.mark.parametrize("operands", ["%main, %short", "%short, %main"])
def test_a_residual_goes_to_the_convolution_that_comes_last(lab: Any, operands: str) -> None:
    lab.becomes(
        f"""
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
    const %v: f64[4,4,1,1]
    %main: f64[N,4,5,5] = Conv(%x, %w) {{kernel_size=[1, 1]}}
    %short: f64[N,4,5,5] = Conv(%x, %v) {{kernel_size=[1, 1]}}
    %sum: f64[N,4,5,5] = Add({operands})
    output "y" = %sum
    """,
        "fuse-epilogue",
        """
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
    const %v: f64[4,4,1,1]
    %main: f64[N,4,5,5] = Conv(%x, %w) {kernel_size=[1, 1]}
    %short: f64[N,4,5,5] = Conv(%x, %v, _, %main) {kernel_size=[1, 1]} from "short", "sum"
    output "y" = %short
    """,
    )


def test_the_fused_convolution_moves_behind_what_it_adds(lab: Any) -> None:
    lab.becomes(
        f"""{HEAD}{CONV}
    %late: f64[N,4,5,5] = MaxPool(%x) {{kernel_size=[1, 1]}}
    %sum: f64[N,4,5,5] = Add(%conv, %late)
    output "y" = %sum
    """,
        "fuse-epilogue",
        """
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
    %late: f64[N,4,5,5] = MaxPool(%x) {kernel_size=[1, 1]}
    %conv: f64[N,4,5,5] = Conv(%x, %w, _, %late) {kernel_size=[1, 1]} from "conv", "sum"
    output "y" = %conv
    """,
    )


def test_sixteen_bits_fuse_where_nothing_is_rounded_again(lab: Any) -> None:
    graph = f"""{HEAD}
    const %b: f64[4,1,1]
    {CONV}
    %biased: f64[N,4,5,5] = Add(%conv, %b)
    %relu: f64[N,4,5,5] = Relu(%biased)
    output "y" = %relu
    """
    graph = graph.replace("f64", "f16")
    assert [node.op.name for node in lab.run(graph, "fuse-epilogue").graph.nodes] == ["Conv"]


@pytest.mark.parametrize(
    ("rest", "reasons"),
    [
        (
            '%relu: f64[N,4,5,5] = Relu(%conv)\n    output "y" = %relu\n    output "z" = %conv',
            ["relu: 'conv' is the graph output 'z'"],
        ),
        (
            '%relu: f64[N,4,5,5] = Relu(%conv)\n    %sum: f64[N,4,5,5] = Max(%relu, %conv)\n    output "y" = %sum',
            ["relu: 'conv' has 2 uses"],
        ),
        ('%sum: f64[N,4,5,5] = Add(%conv, %conv)\n    output "y" = %sum', ["sum: 'conv' has 2 uses"]),
        (
            "%pool: f64[N,4,5,5] = MaxPool(%conv) {kernel_size=[1, 1]}\n"
            '    %sum: f64[N,4,5,5] = Add(%conv, %pool)\n    output "y" = %sum',
            ["sum: 'conv' has 2 uses"],
        ),
        (
            "%pool: f64[N,4,1,1] = GlobalAveragePool(%x)\n"
            '    %sum: f64[N,4,5,5] = Add(%conv, %pool)\n    output "y" = %sum',
            ["sum: 'pool' of type f64[N,4,1,1] broadcasts"],
        ),
        (
            "%pool: f64[N,4,5,5] = MaxPool(%conv) {kernel_size=[1, 1]}\n"
            '    %relu: f64[N,4,5,5] = Relu(%pool)\n    output "y" = %relu',
            [],
        ),
    ],
    ids=["graph output", "two uses", "itself twice", "depends on itself", "broadcast", "after a pooling"],
)
def test_declines(lab: Any, rest: str, reasons: list[str]) -> None:
    lab.refuses(f"{HEAD}{CONV}    {rest}", "fuse-epilogue", reasons)


CASES_WITH_EPILOGUE = [
    (
        "Conv(%x, %w) {kernel_size=[1, 1], activation=Activation(kind=relu)}",
        "Add(%conv, %x)",
        "'conv' has an activation in between",
    ),
    ("Conv(%x, %w, _, %x) {kernel_size=[1, 1]}", "Add(%x, %conv)", "'conv' adds another residual already"),
    (
        "Conv(%x, %w) {kernel_size=[1, 1], activation=Activation(kind=relu)}",
        "Sigmoid(%conv)",
        "'conv' has an activation already (relu)",
    ),
]


@pytest.mark.parametrize(("conv", "last", "reason"), CASES_WITH_EPILOGUE)
def test_declines_what_the_order_of_the_epilogue_forbids(lab: Any, conv: str, last: str, reason: str) -> None:
    graph = f'{HEAD}    %conv: f64[N,4,5,5] = {conv}\n    %last: f64[N,4,5,5] = {last}\n    output "y" = %last'
    lab.refuses(graph, "fuse-epilogue", [f"last: {reason}"])


@pytest.mark.parametrize(
    ("conv", "reasons"),
    [
        (
            "Conv(%x, %w, %c) {kernel_size=[1, 1]}",
            ["'conv' has a bias already (fold-affine adds them up)", "'b' is a constant"],
        ),
        (
            "Conv(%x, %w) {kernel_size=[1, 1], activation=Activation(kind=relu)}",
            ["'conv' has an activation in between"],
        ),
        (
            "Conv(%x, %w, _, %x) {kernel_size=[1, 1]}",
            ["'conv' adds a residual in between", "'conv' adds another residual already"],
        ),
    ],
)
def test_declines_a_bias(lab: Any, conv: str, reasons: list[str]) -> None:
    graph = f"""{HEAD}
    {"const %c: f64[4]" if "%c" in conv else ""}
    const %b: f64[1,4,1,1]
    %conv: f64[N,4,5,5] = {conv}
    %sum: f64[N,4,5,5] = Add(%conv, %b)
    output "y" = %sum
    """
    lab.refuses(graph, "fuse-epilogue", [f"sum: {reason}" for reason in reasons])
