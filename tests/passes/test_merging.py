"""`merge-branches`, `merge-linear-convs`, `dense-to-conv`: exact rewrites that take layers away or turn them."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.frontends.source import load
from cnnir.passes.base import EXACT
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline

NORM = "scale", "bias", "mean", "var"


def norm(name: str, x: str) -> str:
    """A batch normalisation of four channels on 6x6 pixels; its constants are those of `norms`."""
    ports = ", ".join(f"%{name}.{p}" for p in NORM)
    return f"%{name}: f64[N,4,6,6] = BatchNormalization(%{x}, {ports})"


def norms(*names: str) -> str:
    return "".join(f"\n    const %{n}.{p}: f64[4]" for n in names for p in NORM)


def test_a_repvgg_block_is_one_convolution(lab: Any) -> None:
    result = lab.becomes(
        f"""
    input %x: f64[N,4,6,6]
    const %w3: f64[4,4,3,3]
    const %w1: f64[4,4,1,1]{norms("n3", "n1", "n0")}
    %c3: f64[N,4,6,6] = Conv(%x, %w3) {{kernel_size=[3, 3], pads=[1, 1, 1, 1]}}
    {norm("n3", "c3")}
    %c1: f64[N,4,6,6] = Conv(%x, %w1) {{kernel_size=[1, 1]}}
    {norm("n1", "c1")}
    {norm("n0", "x")}
    %s: f64[N,4,6,6] = Add(%n3, %n1)
    %t: f64[N,4,6,6] = Add(%s, %n0)
    output "y" = %t
    """,
        "merge-branches",
        """
    input %x: f64[N,4,6,6]
    const %w3: f64[4,4,3,3]
    const %c3.bias: f64[4]
    %c3: f64[N,4,6,6] = Conv(%x, %w3, %c3.bias) {kernel_size=[3, 3], pads=[1, 1, 1, 1]} from ORIGINS
    output "y" = %c3
    """.replace("ORIGINS", '"n0", "c3", "n3", "c1", "n1", "s", "t"'),
    )
    assert result.rewrote == [
        "s: 'c3' and 'c1' merged into one convolution of 3x3",
        "t: 'c3' and the identity merged into one convolution of 3x3",
    ]
    assert result.records[0].contract == EXACT


def acnet(kernels: list[tuple[int, int]], attrs: str = "", groups: int = 1, size: int = 6) -> str:
    lines = [f"const %w{i}: f64[4,{4 // groups},{h},{w}]" for i, (h, w) in enumerate(kernels)]
    for i, (h, w) in enumerate(kernels):
        pads = f"pads=[{h // 2}, {w // 2}, {h // 2}, {w // 2}], groups={groups}{attrs}"
        lines.append(f"%c{i}: f64[N,4,{size},{size}] = Conv(%x, %w{i}) {{kernel_size=[{h}, {w}], {pads}}}")
    last = "c0"
    for i in range(1, len(kernels)):
        lines.append(f"%s{i}: f64[N,4,{size},{size}] = Add(%{last}, %c{i})")
        last = f"s{i}"
    text = "\n    ".join(lines)
    return f"""
    input %x: f64[N,4,6,6]
    {text}
    output "y" = %{last}
    """


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("attrs", "size"), [("", 6), (", stride=[2, 2]", 3)])
def test_an_acnet_block_is_one_convolution(lab: Any, groups: int, attrs: str, size: int) -> None:
    result = lab.run(acnet([(3, 3), (1, 3), (3, 1)], attrs, groups, size), "merge-branches")
    assert [n.op.name for n in result.graph.nodes] == ["Conv"]


def test_crossing_kernels_alone_would_cost_more(lab: Any) -> None:
    reason = "s1: a kernel of 3x3 would cost 1.5 times what the branches cost"
    lab.refuses(acnet([(1, 3), (3, 1)]), "merge-branches", [reason])


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (("%s1: f64[N,4,6,6] = Add(%c0, %c1)", "%s1: f64[N,4,6,6] = Mul(%c0, %c1)"), []),
        (("kernel_size=[1, 1], pads=[0, 0, 0, 0], groups=1", "kernel_size=[1, 1], groups=1, "
          "activation=Activation(kind=relu)"), []),
        (('output "y"', 'output "z" = %c1\n    output "y"'), []),
    ],
    ids=["product", "activation", "output"],
)  # fmt: skip
def test_merge_branches_leaves_other_things_alone(lab: Any, change: tuple[str, str], reasons: list[str]) -> None:
    graph = acnet([(3, 3), (1, 1)])
    assert change[0] in graph
    lab.refuses(graph.replace(*change), "merge-branches", reasons)


def test_merge_branches_declines_different_groups(lab: Any) -> None:
    graph = acnet([(3, 3), (1, 1)]).replace("const %w1: f64[4,4,1,1]", "const %w1: f64[4,2,1,1]")
    graph = graph.replace("pads=[0, 0, 0, 0], groups=1", "groups=2")
    lab.refuses(graph, "merge-branches", ["s1: 'c0' and 'c1' have different groups"])


def two(
    first: str, second: str, *, k1: int, k2: int, mid: int, out: int, bias: bool = True, between: str = ""
) -> str:
    b = ", %b1" if bias else ""
    constant = "\n    const %b1: f64[6]" if bias else ""
    relu = f"\n    %r: f64[N,6,{mid},{mid}] = Relu(%a)" if between else ""
    return f"""
    input %x: f64[N,4,9,9]
    const %w1: f64[6,4,{k1},{k1}]{constant}
    const %w2: f64[5,6,{k2},{k2}]
    const %b2: f64[5]
    %a: f64[N,6,{mid},{mid}] = Conv(%x, %w1{b}) {{kernel_size=[{k1}, {k1}]{first}}}{relu}
    %c: f64[N,5,{out},{out}] = Conv(%{"r" if between else "a"}, %w2, %b2) {{kernel_size=[{k2}, {k2}]{second}}}
    output "y" = %c
    """


@pytest.mark.parametrize(
    ("first", "second", "sizes"),
    [
        ("", "", {"k1": 3, "k2": 3, "mid": 7, "out": 5}),
        (", pads=[1, 1, 1, 1]", "", {"k1": 3, "k2": 1, "mid": 9, "out": 9}),
        (", stride=[2, 2], pads=[1, 1, 0, 0]", "", {"k1": 3, "k2": 2, "mid": 4, "out": 3}),
        (", stride=[2, 2]", ", stride=[2, 2]", {"k1": 2, "k2": 2, "mid": 4, "out": 2}),
        (", dilation=[2, 2]", ", dilation=[2, 2]", {"k1": 3, "k2": 2, "mid": 5, "out": 3}),
        ("", ", pads=[1, 1, 1, 1]", {"k1": 1, "k2": 3, "mid": 9, "out": 9, "bias": False}),
        (", stride=[2, 2]", ", pads=[1, 1, 2, 2]", {"k1": 1, "k2": 3, "mid": 5, "out": 6, "bias": False}),
    ],
)
def test_convolutions_without_anything_between_are_one(lab: Any, first: str, second: str, sizes: Any) -> None:
    result = lab.run(two(first, second, **sizes), "merge-linear-convs{grow=true}")
    assert result.rewrote == ["a: merged into 'c' after it"]
    assert len(result.graph.nodes) == 1


@pytest.mark.parametrize(
    ("graph", "reasons"),
    [
        (two("", "", k1=3, k2=3, mid=7, out=5, between="relu"), []),
        (two("", ", pads=[1, 1, 1, 1]", k1=3, k2=3, mid=7, out=7), ["a: 'c' pads its output with zeros"]),
        (
            two("", ", pads=[1, 1, 1, 1]", k1=1, k2=3, mid=9, out=9),
            ["a: 'c' pads with zeros, where the bias would not be"],
        ),
        (
            two(", activation=Activation(kind=relu)", "", k1=1, k2=3, mid=9, out=7),
            ["a: 'a' has an activation in between"],
        ),
        (
            two("", "", k1=1, k2=3, mid=9, out=7).replace('output "y"', 'output "z" = %a\n    output "y"'),
            ["a: 'a' is the graph output 'z'"],
        ),
    ],
)
def test_merge_linear_convs_declines(lab: Any, graph: str, reasons: list[str]) -> None:
    lab.refuses(graph, "merge-linear-convs{grow=true}", reasons)


def test_merge_linear_convs_counts_the_cost(lab: Any) -> None:
    # 4*6*9*49 + 6*5*9*25 = 17334 products before, 4*5*25*25 = 12500 after.
    graph = two("", "", k1=3, k2=3, mid=7, out=5)
    assert lab.run(graph, "merge-linear-convs").rewrote == ["a: merged into 'c' after it"]
    narrow = (
        graph.replace("[6,", "[1,").replace("[5,6,", "[5,1,").replace("N,6,", "N,1,").replace("f64[6]", "f64[1]")
    )
    (reason,) = [str(r) for record in PassManager(parse_pipeline("merge-linear-convs")).run(lab.graph(narrow))
                 for r in record.declined]  # fmt: skip
    # 4*9*49 + 5*9*25 = 2889.
    assert reason == "a: merging would cost 4.33 times what both cost"


def dense(image: str = "%flat", extra: str = "") -> str:
    return f"""
    input %x: f64[N,2,3,4]
    const %w: f64[5,24]
    const %b: f64[5]
    %flat: f64[N,24] = Flatten(%x)
    %relu: f64[N,24] = Relu(%flat)
    %fc: f64[N,5] = Gemm({image}, %w, %b)
    output "y" = %fc
    output "r" = %relu
    """


def test_a_dense_layer_on_an_image_is_a_convolution(lab: Any) -> None:
    lab.becomes(
        """
    input %x: f64[N,2,3,4]
    const %w: f64[5,24]
    const %b: f64[5]
    %flat: f64[N,24] = Flatten(%x)
    %fc: f64[N,5] = Gemm(%flat, %w, %b)
    output "y" = %fc
    """,
        "dense-to-conv",
        """
    input %x: f64[N,2,3,4]
    const %w: f64[5,2,3,4]
    const %b: f64[5]
    %fc: f64[N,5,1,1] = Conv(%x, %w, %b) {kernel_size=[3, 4]}
    %fc.flat: f64[N,5] = Flatten(%fc) from "fc"
    output "y" = %fc.flat
    """,
    )


def test_dense_to_conv_declines_vectors(lab: Any) -> None:
    lab.refuses(dense("%relu"), "dense-to-conv", ["fc: 'relu' is no flattened image"])


def test_alexnets_first_dense_layer_becomes_a_convolution_of_its_map() -> None:
    graph = load("alexnet").graph
    *_, record = PassManager(parse_pipeline("remove-identity,dense-to-conv")).run(graph)
    (first,) = [n for n in graph.nodes if n.name == record.rewrote[0].node]
    weight = first.inputs[1]
    # torchvision's AlexNet: 256 maps of 6x6 into 4096.
    assert weight is not None and weight.type.shape == (4096, 256, 6, 6)
    assert first.output.type.shape[1:] == (4096, 1, 1)
