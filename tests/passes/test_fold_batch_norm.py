"""`fold-batch-norm`: what it folds, as text before and after, and what it must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cnnir.ops
from cnnir.ir import DType, LazyData
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline

assert cnnir.ops
BN = """
    const %bn.scale: f64[4]
    const %bn.bias: f64[4]
    const %bn.mean: f64[4]
    const %bn.var: f64[4]
"""
NORM = "BatchNormalization(%conv, %bn.scale, %bn.bias, %bn.mean, %bn.var)"


def consts(dtype: str = "f64", channels: int = 4) -> str:
    return "".join(f"\n    const %bn.{port}: {dtype}[{channels}]" for port in ("scale", "bias", "mean", "var"))


def test_into_the_convolution_before_it_with_bias(lab: Any) -> None:
    result = lab.becomes(
        f"""
    input %x: f64[N,3,5,5]
    const %cw: f64[4,3,3,3]
    const %cb: f64[4]{consts()}
    %conv: f64[N,4,5,5] = Conv(%x, %cw, %cb) {{kernel_size=[3, 3], pads=[1, 1, 1, 1]}}
    %bn: f64[N,4,5,5] = {NORM} {{epsilon=0.001}}
    output "y" = %bn
    """,
        "fold-batch-norm",
        """
    input %x: f64[N,3,5,5]
    const %cw: f64[4,3,3,3]
    const %cb: f64[4]
    %conv: f64[N,4,5,5] = Conv(%x, %cw, %cb) {kernel_size=[3, 3], pads=[1, 1, 1, 1]} from "conv", "bn"
    output "y" = %conv
    """,
    )
    assert result.rewrote == ["bn: folded into 'conv' before it"]
    old = {v.name: v.data.numpy() for v in result.before.constants()}
    s = old["bn.scale"] / np.sqrt(old["bn.var"] + 0.001)
    np.testing.assert_allclose(result.constant("cw"), old["cw"] * s[:, None, None, None], rtol=1e-14)
    np.testing.assert_allclose(
        result.constant("cb"),
        (old["cb"] - old["bn.mean"]) * s + old["bn.bias"],
        rtol=1e-12,
        atol=1e-14,
    )


def test_into_a_grouped_convolution_without_bias(lab: Any) -> None:
    lab.becomes(
        f"""
    input %x: f64[N,4,5,5]
    const %w: f64[4,2,3,3]{consts()}
    %conv: f64[N,4,1,1] = Conv(%x, %w) {{kernel_size=[3, 3], dilation=[2, 2], groups=2}}
    %bn: f64[N,4,1,1] = {NORM}
    output "y" = %bn
    """,
        "fold-batch-norm",
        """
    input %x: f64[N,4,5,5]
    const %w: f64[4,2,3,3]
    const %conv.bias: f64[4]
    %conv: f64[N,4,1,1] = Conv(%x, %w, %conv.bias) {kernel_size=[3, 3], dilation=[2, 2], groups=2} from "conv", "bn"
    output "y" = %conv
    """,
    )


def test_into_a_dense_layer(lab: Any) -> None:
    lab.becomes(
        f"""
    input %x: f64[N,3]
    const %w: f64[4,3]{consts()}
    %conv: f64[N,4] = Gemm(%x, %w)
    %bn: f64[N,4] = {NORM}
    output "y" = %bn
    """,
        "fold-batch-norm",
        """
    input %x: f64[N,3]
    const %w: f64[4,3]
    const %conv.bias: f64[4]
    %conv: f64[N,4] = Gemm(%x, %w, %conv.bias) from "conv", "bn"
    output "y" = %conv
    """,
    )


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_into_the_convolution_after_it(lab: Any, groups: int) -> None:
    more = f", groups={groups}" if groups > 1 else ""
    lab.becomes(
        f"""
    input %x: f64[N,4,5,5]{consts()}
    const %w: f64[8,{4 // groups},3,3]
    const %b: f64[8]
    %bn: f64[N,4,5,5] = BatchNormalization(%x, %bn.scale, %bn.bias, %bn.mean, %bn.var)
    %conv: f64[N,8,3,3] = Conv(%bn, %w, %b) {{kernel_size=[3, 3], groups={groups}}}
    output "y" = %conv
    """,
        "fold-batch-norm",
        f"""
    input %x: f64[N,4,5,5]
    const %w: f64[8,{4 // groups},3,3]
    const %b: f64[8]
    %conv: f64[N,8,3,3] = Conv(%x, %w, %b) {{kernel_size=[3, 3]{more}}} from "bn", "conv"
    output "y" = %conv
    """,
    )


def test_through_padding_only_without_a_shift(lab: Any) -> None:
    graph = f"""
    input %x: f64[N,4,5,5]{consts()}
    const %w: f64[2,4,3,3]
    %bn: f64[N,4,5,5] = BatchNormalization(%x, %bn.scale, %bn.bias, %bn.mean, %bn.var)
    %conv: f64[N,2,5,5] = Conv(%bn, %w) {{kernel_size=[3, 3], pads=[1, 1, 1, 1]}}
    output "y" = %conv
    """
    lab.refuses(
        graph,
        "fold-batch-norm",
        [
            "bn: reads graph input 'x'",
            "bn: 'conv' after it pads with zeros, which the shift would not reach",
        ],
    )
    result = lab.run(graph, "fold-batch-norm", {"bn.bias": 0, "bn.mean": 0})
    assert result.rewrote == ["bn: folded into 'conv' after it"]


def test_a_shared_weight_keeps_its_data_and_each_layer_gets_its_own(lab: Any) -> None:
    result = lab.becomes(
        f"""
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]{consts()}
    %first: f64[N,4,5,5] = Conv(%x, %w) {{kernel_size=[1, 1]}}
    %conv: f64[N,4,5,5] = Conv(%first, %w) {{kernel_size=[1, 1]}}
    %bn: f64[N,4,5,5] = {NORM}
    output "y" = %bn
    """,
        "fold-batch-norm",
        """
    input %x: f64[N,4,5,5]
    const %w: f64[4,4,1,1]
    const %w_1: f64[4,4,1,1]
    const %conv.bias: f64[4]
    %first: f64[N,4,5,5] = Conv(%x, %w) {kernel_size=[1, 1]}
    %conv: f64[N,4,5,5] = Conv(%first, %w_1, %conv.bias) {kernel_size=[1, 1]} from "conv", "bn"
    output "y" = %conv
    """,
    )
    before = next(v for v in result.before.constants() if v.name == "w")
    assert next(v for v in result.graph.constants() if v.name == "w").data is before.data


def conv_then_norm(
    middle: str = "", *, dtype: str = "f64", attrs: str = "", outputs: str = "", given: str = ""
) -> str:
    return f"""
    input %x: {dtype}[N,4,5,5]{given}
    const %w: {dtype}[4,4,1,1]{consts(dtype)}
    %conv: {dtype}[N,4,5,5] = Conv(%x, %w{middle}) {{kernel_size=[1, 1]{attrs}}}
    %bn: {dtype}[N,4,5,5] = {NORM}
    output "y" = %bn{outputs}
    """


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (conv_then_norm(outputs='\n    output "z" = %conv'), "'conv' is the graph output 'z'"),
        (
            conv_then_norm(attrs=", activation=Activation(kind=relu)"),
            "'conv' has an activation in between",
        ),
        (conv_then_norm(", _, %x"), "'conv' adds a residual in between"),
        (conv_then_norm(dtype="f16"), "'bn.scale' is f16, which would be rounded a second time"),
        (
            conv_then_norm(outputs='\n    %r: f64[N,4,5,5] = Relu(%conv)\n    output "z" = %r'),
            "'conv' has 2 uses",
        ),
        (
            conv_then_norm().replace("const %w:", "input %w:"),
            "'w' of 'conv' is not a constant",
        ),
        (
            conv_then_norm().replace("const %bn.mean:", "input %bn.mean:"),
            "'bn.mean' is not a constant",
        ),
    ],
    ids=[
        "graph output",
        "activation",
        "residual",
        "f16",
        "two uses",
        "weight is no constant",
        "mean is no constant",
    ],
)
def test_declines(lab: Any, graph: str, reason: str) -> None:
    lines = graph.splitlines()
    # Statements come in the order inputs, constants, nodes, outputs.
    order = ("input", "const", "%", "output")
    graph = "\n".join(sorted(lines, key=lambda line: next((i for i, o in enumerate(order) if o in line[:10]), -1)))
    lab.refuses(graph, "fold-batch-norm", [f"bn: {reason}"])


def test_declines_a_scale_that_is_not_finite(lab: Any) -> None:
    graph = conv_then_norm().replace("%bn.var)", "%bn.var) {epsilon=0.0}")
    lab.refuses(graph, "fold-batch-norm", ["bn: the scale or shift of 'bn' is not finite"], {"bn.var": 0})


def test_float32_weights_are_rounded_once(lab: Any) -> None:
    graph = lab.graph(conv_then_norm(dtype="f32"))
    old = {v.name: v.data.numpy().astype(np.float64) for v in graph.constants()}
    PassManager(parse_pipeline("fold-batch-norm")).run(graph)
    (weight, bias) = (v.data.numpy() for v in graph.constants())
    assert weight.dtype == bias.dtype == np.float32
    s = old["bn.scale"] / np.sqrt(old["bn.var"] + 1e-5)
    assert np.array_equal(weight, (old["w"] * s[:, None, None, None]).astype(np.float32))
    assert np.array_equal(bias, (old["bn.bias"] - old["bn.mean"] * s).astype(np.float32))


def test_nothing_is_computed_until_someone_asks(lab: Any) -> None:
    graph = lab.graph(conv_then_norm())

    def load() -> Any:
        raise AssertionError("the weight was asked for")

    weight = graph.nodes[0].inputs[1]
    weight.data = LazyData(weight.type.shape, DType.F64, load)
    PassManager(parse_pipeline("inference")).run(graph)
    assert [node.op.name for node in graph.nodes] == ["Conv"]
