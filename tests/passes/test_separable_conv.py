"""`separable-conv`: exact with all terms, the best with fewer, the cost of MobileNet's arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.analysis.cost import graph_cost
from cnnir.errors import CnnirError
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline


def conv(
    attrs: str = "pads=[1, 1, 1, 1]", c: int = 4, o: int = 12, k: int = 3, out: int = 7, inner: int = 4
) -> str:
    return f"""
    input %x: f64[N,{c},7,7]
    const %a.weight: f64[{o},{inner},{k},{k}]
    const %a.bias: f64[{o}]
    %a: f64[N,{o},{out},{out}] = Conv(%x, %a.weight, %a.bias) {{kernel_size=[{k}, {k}], {attrs}}}
    output "y" = %a
    """


@pytest.mark.parametrize(
    ("attrs", "out"),
    [("pads=[1, 1, 1, 1]", 7), ("stride=[2, 2], pads=[0, 1, 1, 0]", 3), ("activation=Activation(kind=relu)", 5)],
)
def test_all_terms_are_exact(lab: Any, attrs: str, out: int) -> None:
    before = lab.graph(conv(attrs, out=out))
    after = before.clone()
    PassManager(parse_pipeline("separable-conv{terms=9 grow=true}")).run(after)
    assert [(n.name, n.attrs.groups) for n in after.nodes] == [("a.0", 4), ("a.1", 1)]
    lab.compare(lab.outputs(before), lab.outputs(after), 1e-12)


def test_a_separable_weight_needs_one_term(lab: Any) -> None:
    rng = np.random.default_rng(0)
    weight = np.einsum("oc,cij->ocij", rng.normal(size=(12, 4)), rng.normal(size=(4, 3, 3)))
    before = lab.graph(conv(), {"a.weight": weight})
    after = before.clone()
    (record,) = PassManager(parse_pipeline("separable-conv")).run(after)
    lab.compare(lab.outputs(before), lab.outputs(after), 1e-12)
    assert record.rewrote[0].text.endswith("100.00% of the weights' energy kept")
    # Howard et al. 2017, section 3.1: 1/N + 1/D_K^2 of the arithmetic.
    ratio = graph_cost(after).total.macs / graph_cost(before).total.macs
    assert ratio == pytest.approx(1 / 12 + 1 / 9, rel=1e-12)


def test_the_energy_that_is_reported_is_that_of_the_best_approximation(lab: Any) -> None:
    graph = lab.graph(conv())
    (old,) = (v.data.numpy() for v in graph.constants() if v.name == "a.weight")
    (record,) = PassManager(parse_pipeline("separable-conv{terms=2}")).run(graph)
    # Eckart and Young, channel by channel, from the eigenvalues of the Gram matrices.
    energies = [np.linalg.eigvalsh(w.T @ w)[::-1] for w in old.transpose(1, 0, 2, 3).reshape(4, 12, 9)]
    kept = sum(e[:2].sum() for e in energies) / sum(e.sum() for e in energies)
    assert record.rewrote[0].text.endswith(f"{kept:.2%} of the weights' energy kept")


@pytest.mark.parametrize(
    ("text", "options", "reasons"),
    [
        (conv("pads=[1, 1, 1, 1], groups=2", inner=2), "", ["a: is grouped"]),
        (conv("pads=[1, 1, 1, 1], groups=4", inner=1), "", []),
        (conv("stride=[1, 1]", k=1), "", []),
        (conv(), "terms=9", ["a: would cost 1.75 times as much"]),
    ],
)
def test_declines(lab: Any, text: str, options: str, reasons: list[str]) -> None:
    lab.refuses(text, f"separable-conv{{{options}}}", reasons)


def test_no_terms_are_refused() -> None:
    with pytest.raises(CnnirError, match="Expected at least 1 of terms, got 0"):
        parse_pipeline("separable-conv{terms=0}")
