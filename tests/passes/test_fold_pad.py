"""`fold-pad`: where padding of its own is the same as padding of the window, and where it is not."""

from __future__ import annotations

from typing import Any

import pytest


def padded(
    window: str, *, value: str = "0.0", before: str = "", source: str = "%x", pads: str = "0, 0, 1, 2, 0, 0, 3, 0"
) -> str:
    more = "" if value == "0.0" else f", value={value}"
    return f"""
    input %x: f64[N,3,5,5]
    {"const %w: f64[2,3,3,3]" if "%w" in window else ""}
    {before}
    %pad: f64[N,3,9,7] = Pad({source}) {{pads=[{pads}]{more}}}
    {window}
    output "y" = %y
    """


CONV = "%y: f64[N,2,5,3] = Conv(%pad, %w) {kernel_size=[3, 3], stride=[2, 2], pads=[1, 0, 1, 0]}"
MAX = "%y: f64[N,3,4,3] = MaxPool(%pad) {kernel_size=[3, 3], stride=[2, 2]}"
AVERAGE = "%y: f64[N,3,7,5] = AveragePool(%pad) {kernel_size=[3, 3]}"


def test_into_a_convolution_the_pads_add_up(lab: Any) -> None:
    lab.becomes(
        padded(CONV),
        "fold-pad",
        """
    input %x: f64[N,3,5,5]
    const %w: f64[2,3,3,3]
    %y: f64[N,2,5,3] = Conv(%x, %w) {kernel_size=[3, 3], stride=[2, 2], pads=[2, 2, 4, 0]} from "pad", "y"
    output "y" = %y
    """,
    )


def test_into_an_average_that_then_counts_the_zeros(lab: Any) -> None:
    graph = padded(AVERAGE, pads="0, 0, 2, 2, 0, 0, 2, 0")
    lab.becomes(
        graph,
        "fold-pad",
        """
    input %x: f64[N,3,5,5]
    %y: f64[N,3,7,5] = AveragePool(%x) {kernel_size=[3, 3], pads=[2, 2, 2, 0], count_include_pad=true} \
from "pad", "y"
    output "y" = %y
    """,
    )


def test_into_an_average_that_counts_padding_of_its_own(lab: Any) -> None:
    window = "%y: f64[N,3,8,8] = AveragePool(%pad) {kernel_size=[4, 4], pads=[1, 1, 1, 1], count_include_pad=true}"
    window = window.replace("8,8", "8,6")
    assert lab.run(padded(window, pads="0, 0, 2, 2, 0, 0, 2, 0"), "fold-pad").rewrote == ["pad: folded into 'y'"]


def test_zeros_into_a_maximum_over_what_is_never_negative(lab: Any) -> None:
    graph = padded(MAX, before="%relu: f64[N,3,5,5] = Relu(%x)", source="%relu", pads="0, 0, 2, 2, 0, 0, 2, 0")
    lab.becomes(
        graph,
        "fold-pad",
        """
    input %x: f64[N,3,5,5]
    %relu: f64[N,3,5,5] = Relu(%x)
    %y: f64[N,3,4,3] = MaxPool(%relu) {kernel_size=[3, 3], stride=[2, 2], pads=[2, 2, 2, 0]} from "pad", "y"
    output "y" = %y
    """,
    )


@pytest.mark.parametrize(
    "before",
    [
        "%a: f64[N,3,5,5] = Sigmoid(%x)\n    %s: f64[N,3,5,5] = MaxPool(%a) {kernel_size=[1, 1]}",
        "%s: f64[N,3,5,5] = Clip(%x) {min=0.0, max=6.0}",
        "%s: f64[N,3,5,5] = Add(%x, %x) {activation=Activation(kind=relu)}",
        "%a: f64[N,3,5,5] = Abs(%x)\n    %s: f64[N,3,5,5] = Concat(%a) {axis=1}",
    ],
)
def test_what_is_known_never_to_be_negative(lab: Any, before: str) -> None:
    graph = padded(MAX, before=before, source="%s", pads="0, 0, 2, 2, 0, 0, 2, 0")
    assert lab.run(graph, "fold-pad").rewrote


def test_minus_infinity_into_any_maximum(lab: Any) -> None:
    graph = padded(MAX, value="-inf", pads="0, 0, 2, 2, 0, 0, 2, 0")
    assert lab.run(graph, "fold-pad").rewrote == ["pad: folded into 'y'"]


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (padded(CONV, value="0.5"), "pads with 0.5, but a convolution pads with 0"),
        (padded(AVERAGE, value="-1.0"), "pads with -1, but an average pads with 0"),
        (
            padded("%y: f64[N,3,9,7] = AveragePool(%pad) {kernel_size=[3, 3], pads=[1, 1, 1, 1]}"),
            "'y' does not count padding of its own, so both cannot be one",
        ),
        (
            padded("%y: f64[N,3,4,3] = AveragePool(%pad) {kernel_size=[3, 3], stride=[2, 2], ceil_mode=true}"),
            "'y' rounds up, and what hangs over padding is not counted",
        ),
        (
            padded(AVERAGE),
            "A pooling window lies wholly in the padding: input 5 with padding 1+3, kernel 3, stride 1",
        ),
        (padded(MAX), "pads with 0, which would win over negative elements of 'x'"),
        (padded(MAX, value="1.0"), "pads with 1, but the maximum ignores padding"),
        (
            padded(
                "%y: f64[N,3,5,4] = MaxPool(%pad) {kernel_size=[2, 2], stride=[2, 2], ceil_mode=true}",
                value="-inf",
                pads="0, 0, 3, 2, 0, 0, 1, 0",
            ),
            "A pooling window lies wholly in the padding: input 5 with padding 3+1, kernel 2, stride 2",
        ),
        (
            padded(
                "%y: f64[N,3,3,3] = MaxPool(%pad) {kernel_size=[2, 3], stride=[4, 2], ceil_mode=true}",
                value="-inf",
                pads="0, 0, 0, 2, 0, 0, 4, 0",
            ),
            "'y' would have an output of type f64[N,3,2,3] instead of f64[N,3,3,3]",
        ),
        (
            padded(
                "%y: f64[N,3,9,7] = Relu(%pad)\n    %z: f64[N,3,4,3] = MaxPool(%pad) "
                "{kernel_size=[3, 3], stride=[2, 2]}",
                value="-inf",
            )
            + '    output "z" = %z',
            "'pad' has 2 uses",
        ),
        (padded(CONV) + '    output "z" = %pad', "'pad' is the graph output 'z'"),
    ],
    ids=[
        "conv value",
        "average value",
        "average excludes",
        "average rounds up",
        "average empty window",
        "max of negatives",
        "max value",
        "max empty window",
        "max loses a window",
        "two uses",
        "graph output",
    ],
)
def test_declines(lab: Any, graph: str, reason: str) -> None:
    lab.refuses(graph, "fold-pad", [f"pad: {reason}"])


def test_declines_channels(lab: Any) -> None:
    lab.refuses(
        """
    input %x: f64[N,3,5,5]
    const %w: f64[2,4,3,3]
    %pad: f64[N,4,5,5] = Pad(%x) {pads=[0, 1, 0, 0, 0, 0, 0, 0]}
    %y: f64[N,2,3,3] = Conv(%pad, %w) {kernel_size=[3, 3]}
    output "y" = %y
    """,
        "fold-pad",
        ["pad: pads batch or channels"],
    )
