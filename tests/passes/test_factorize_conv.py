"""`factorize-conv`: exact at full rank, the error it says below that, the arithmetic of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.analysis.cost import graph_cost
from cnnir.backends.reference import run
from cnnir.errors import CnnirError
from cnnir.passes.base import RETRAIN
from cnnir.passes.factorize_conv import FactorizeConv, spatial_svd
from cnnir.passes.manager import PassManager, PassRecord
from cnnir.passes.pipeline import parse_pipeline


def conv(
    k: int = 3, attrs: str = "", c: int = 4, o: int = 5, size: int = 9, out: int = 9, pad: int | None = None
) -> str:
    p = k // 2 if pad is None else pad
    return f"""
    input %x: f64[N,{c},{size},{size}]
    const %a.weight: f64[{o},{c},{k},{k}]
    const %a.bias: f64[{o}]
    %a: f64[N,{o},{out},{out}] = Conv(%x, %a.weight, %a.bias) {{kernel_size=[{k}, {k}], pads=[{p}, {p}, {p}, {p}]{attrs}}}
    output "y" = %a
    """  # noqa: E501


def rewrite(lab: Any, text: str, pipeline: str) -> tuple[Any, Any, PassRecord]:
    before = lab.graph(text)
    after = before.clone()
    (record,) = PassManager(parse_pipeline(pipeline)).run(after)
    return before, after, record


@pytest.mark.parametrize(
    "text",
    [
        conv(),
        conv(attrs=", stride=[2, 2]", out=5),
        conv(5, ", activation=Activation(kind=relu)"),
        conv(2, pad=0, out=8),
        conv(7, ", stride=[2, 1]", pad=3, out=9).replace("f64[N,5,9,9]", "f64[N,5,5,9]"),
    ],
)
def test_full_rank_is_exact(lab: Any, text: str) -> None:
    before, after, record = rewrite(lab, text, "factorize-conv{amount=1 grow=true}")
    assert [n.name for n in after.nodes] == ["a.0", "a.1"]
    assert [v.name for v in after.constants()] == ["a.0.weight", "a.1.weight", "a.bias"]
    lab.compare(lab.outputs(before), lab.outputs(after), 1e-12)
    assert "100.00% of the weights' energy kept" in record.rewrote[0].text


@pytest.mark.parametrize("bound", [0.1, 0.3, 0.6])
def test_the_error_of_the_weights_is_within_its_bound(lab: Any, bound: float) -> None:
    before, after, record = rewrite(lab, conv(c=8, o=8), f"factorize-conv{{by=error amount={bound} grow=true}}")
    assert str(record.contract) == f"approximate(relative error of the weights <= {bound:g})"
    column, row = (v.data.numpy() for v in after.constants() if v.name.endswith("weight"))
    (old,) = (v.data.numpy() for v in before.constants() if v.name.endswith("weight"))
    # Eckart and Young: the product of the two kernels, written out, against the old one.
    new = np.einsum("orv,rcu->ocuv", row[:, :, 0], column[..., 0])
    error = np.linalg.norm(new - old) / np.linalg.norm(old)
    assert error <= bound
    rank = len(column)
    values = spatial_svd(old)[2]
    assert np.linalg.norm(values[rank - 1 :]) / np.linalg.norm(old) > bound


def test_macs_are_within_their_share(lab: Any) -> None:
    before, after, _ = rewrite(lab, conv(c=16, o=16), "factorize-conv{by=macs amount=0.5}")
    ratio = graph_cost(after).total.macs / graph_cost(before).total.macs
    # 16*9*16 products a pixel before, 6*16 for every filter between: 12 filters are the half.
    assert ratio == 0.5
    _, after, _ = rewrite(lab, conv(c=16, o=16), "factorize-conv{by=macs amount=0.5 multiple=8}")
    assert after.nodes[0].output.type.shape[1] == 8


@pytest.mark.parametrize(
    ("text", "options", "kernels", "share"),
    [
        # Inception-v3, section 3.1: 18/25, that is 28% fewer.
        (conv(5, c=8, o=8), "form=stack", [3, 3], 18 / 25),
        (conv(7, c=8, o=8), "form=stack", [3, 3, 3], 27 / 49),
        # He & Sun, section 4.1: 8/9, 11% fewer.
        (conv(3, c=8, o=8), "form=stack", [2, 2], 8 / 9),
        (conv(5, c=8, o=8), "form=stack into=2", [2, 2, 2, 2], 16 / 25),
    ],
)
def test_stacks_of_smaller_kernels(lab: Any, text: str, options: str, kernels: list[int], share: float) -> None:
    before, after, record = rewrite(lab, text, f"factorize-conv{{{options}}}")
    assert [n.attrs.kernel_size[0] for n in after.nodes] == kernels
    assert {n.output.type.shape[2:] for n in after.nodes} == {(9, 9)}
    assert graph_cost(after).total.macs / graph_cost(before).total.macs == share
    assert record.contract == RETRAIN and "new weights drawn" in record.rewrote[0].text


@pytest.mark.parametrize("k", [3, 5, 7])
def test_a_column_and_a_row_cost_two_of_n(lab: Any, k: int) -> None:
    before, after, _ = rewrite(lab, conv(k, c=8, o=8), "factorize-conv{width=8 between=relu}")
    assert [n.op.name for n in after.nodes] == ["Conv", "Relu", "Conv"]
    assert graph_cost(after).total.macs / graph_cost(before).total.macs == 2 / k


def test_the_stride_and_the_field_stay(lab: Any) -> None:
    text = conv(5, ", stride=[2, 2]", out=5)
    before, after, _ = rewrite(lab, text, "factorize-conv{form=stack between=linear grow=true}")
    assert [n.attrs.stride for n in after.nodes] == [(1, 1), (2, 2)]
    # One pixel reaches exactly the outputs that it reached before.
    x = np.zeros((1, 4, 9, 9))
    x[:, :, 4, 4] = 1
    reached = [np.any(run(g, {"x": x})["y"] - run(g, {"x": 0 * x})["y"], axis=1) for g in (before, after)]
    assert np.array_equal(*reached)


@pytest.mark.parametrize(
    ("text", "options", "reasons"),
    [
        (conv(attrs=", groups=2", o=4).replace("[4,4,3,3]", "[4,2,3,3]"), "", ["a: is grouped"]),
        (conv(attrs=", dilation=[2, 2]", pad=2), "", ["a: is dilated"]),
        (conv(1), "", []),
        (conv(5), "kernel=3", []),
        (conv(3), "form=stack into=3", ["a: kernels of 3x3 do not stack to 3x3"]),
        (conv(2, pad=0, out=8), "form=stack", ["a: is no larger than the smallest kernel of a stack"]),
        (conv(3), "width=12", ["a: would cost 1.8 times as much"]),
        (conv(3), "by=macs amount=0.01", ["a: not even one filter fits into 1% of the arithmetic"]),
    ],
)
def test_declines(lab: Any, text: str, options: str, reasons: list[str]) -> None:
    lab.refuses(text, f"factorize-conv{{{options}}}", reasons)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("amount=1.5", "Expected a share of energy above 0 and at most 1, got 1.5"),
        ("by=error amount=1", "Expected an error bound from 0 to below 1, got 1"),
        ("multiple=0", "Expected a multiple of at least 1, got 0"),
        ("width=-1", "Expected a width of at least 1, or 0 to leave it open, got -1"),
        ("kernel=5 into=3", "'into' is for stacks, but 'form' is spatial"),
        ("form=stack kernel=6 into=3", "Kernels of 3 do not stack to one of 6"),
        ("form=round", "Option 'form': expected one of stack, spatial, got 'round'"),
    ],
)
def test_options_out_of_range_are_refused(options: str, message: str) -> None:
    with pytest.raises(CnnirError) as caught:
        parse_pipeline(f"factorize-conv{{{options}}}")
    assert caught.value.message == f"{message}."


def test_promises() -> None:
    assert FactorizeConv().promise().bound == pytest.approx(0.05**0.5)
    (made,) = parse_pipeline("factorize-conv{between=relu}")
    assert made.promise() == RETRAIN
