"""Transposed convolutions take a normalisation behind them, and an activation."""

from __future__ import annotations

from typing import Any

import pytest

NORM = "BatchNormalization(%up, %s, %t, %mean, %var)"
CONSTANTS = "".join(f"\n    const %{name}: f64[6]" for name in ("s", "t", "mean", "var"))
WINDOW = "kernel_size=[3, 3], stride=[2, 2]"


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_normalisation_and_activation(lab: Any, groups: int, bias: bool) -> None:
    window = WINDOW + (", groups=2" if groups == 2 else "")
    weight, given = f"f64[4,{6 // groups},3,3]", ", %b" if bias else ""
    constant, name = "\n    const %b: f64[6]" if bias else "", "b" if bias else "up.bias"
    done = 'activation=Activation(kind=relu)} from "up", "bn", "relu"'
    folded = lab.becomes(
        f"""
    input %x: f64[N,4,5,5]
    const %w: {weight}{constant}{CONSTANTS}
    %up: f64[N,6,11,11] = ConvTranspose(%x, %w{given}) {{{window}}}
    %bn: f64[N,6,11,11] = {NORM}
    %relu: f64[N,6,11,11] = Relu(%bn)
    output "y" = %relu
    """,
        "fold-batch-norm,fuse-epilogue",
        f"""
    input %x: f64[N,4,5,5]
    const %w: {weight}
    const %{name}: f64[6]
    %up: f64[N,6,11,11] = ConvTranspose(%x, %w, %{name}) {{{window}, {done}
    output "y" = %up
    """,
    )
    assert not folded.declined


def test_a_second_reader_of_the_result_keeps_it(lab: Any) -> None:
    lab.refuses(
        f"""
    input %x: f64[N,4,5,5]
    const %w: f64[4,6,3,3]{CONSTANTS}
    %up: f64[N,6,11,11] = ConvTranspose(%x, %w) {{{WINDOW}}}
    %bn: f64[N,6,11,11] = {NORM}
    output "y" = %bn
    output "z" = %up
    """,
        "fold-batch-norm",
        ["bn: reads ConvTranspose 'up', not Conv or Gemm", "bn: 'up' is the graph output 'z'"],
    )


def test_an_activation_in_between_is_in_the_way(lab: Any) -> None:
    lab.refuses(
        f"""
    input %x: f64[N,4,5,5]
    const %w: f64[4,6,3,3]{CONSTANTS}
    %up: f64[N,6,11,11] = ConvTranspose(%x, %w) {{{WINDOW}, activation=Activation(kind=relu)}}
    %bn: f64[N,6,11,11] = {NORM}
    output "y" = %bn
    """,
        "fold-batch-norm",
        ["bn: reads ConvTranspose 'up', not Conv or Gemm", "bn: 'up' has an activation in between"],
    )
