"""`insert-bottleneck`: exact at full rank, exact where the weight has the rank, bounds and budgets kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.analysis.cost import graph_cost
from cnnir.errors import CnnirError
from cnnir.passes.base import RETRAIN
from cnnir.passes.insert_bottleneck import tucker2
from cnnir.passes.manager import PassManager
from cnnir.passes.pipeline import parse_pipeline


def conv(attrs: str = "pads=[1, 1, 1, 1]", c: int = 6, o: int = 8, k: int = 3, out: int = 7) -> str:
    return f"""
    input %x: f64[N,{c},7,7]
    const %a.weight: f64[{o},{c},{k},{k}]
    const %a.bias: f64[{o}]
    %a: f64[N,{o},{out},{out}] = Conv(%x, %a.weight, %a.bias) {{kernel_size=[{k}, {k}], {attrs}}}
    output "y" = %a
    """


def low_rank(p: int, q: int, c: int = 6, o: int = 8) -> Any:
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(o, q)), rng.normal(size=(q, p, 3, 3)), rng.normal(size=(p, c))
    return np.einsum("oq,qpij,pc->ocij", *factors)


@pytest.mark.parametrize(
    ("attrs", "out"),
    [
        ("pads=[1, 1, 1, 1]", 7),
        ("stride=[2, 2], pads=[0, 1, 1, 0]", 3),
        ("dilation=[2, 2], activation=Activation(kind=relu)", 3),
    ],
)
def test_full_rank_is_exact(lab: Any, attrs: str, out: int) -> None:
    before = lab.graph(conv(attrs, out=out))
    after = before.clone()
    (record,) = PassManager(parse_pipeline("insert-bottleneck{amount=1 grow=true}")).run(after)
    assert [n.name for n in after.nodes] == ["a.0", "a.1", "a.2"]
    assert [n.output.type.shape[1] for n in after.nodes] == [6, 8, 8]
    lab.compare(lab.outputs(before), lab.outputs(after), 1e-12)
    assert "6 -> 6 -> 8 -> 8 channels" in record.rewrote[0].text


def test_a_weight_of_low_rank_loses_nothing(lab: Any) -> None:
    before = lab.graph(conv(), {"a.weight": low_rank(2, 3)})
    after = before.clone()
    (record,) = PassManager(parse_pipeline("insert-bottleneck{by=error amount=1e-6}")).run(after)
    assert record.rewrote[0].text.startswith("6 -> 2 -> 3 -> 8 channels, 79.2% fewer MACs; 100.00%")
    # (6*2 + 2*3*9 + 3*8) / (6*8*9) = 90/432.
    assert graph_cost(after).total.macs / graph_cost(before).total.macs == 90 / 432
    lab.compare(lab.outputs(before), lab.outputs(after), 1e-5)


@pytest.mark.parametrize("bound", [0.2, 0.5, 0.8])
def test_the_error_of_the_weights_is_within_its_bound(lab: Any, bound: float) -> None:
    before = lab.graph(conv(c=12, o=12))
    after = before.clone()
    (record,) = PassManager(parse_pipeline(f"insert-bottleneck{{by=error amount={bound} grow=true}}")).run(after)
    assert str(record.contract) == f"approximate(relative error of the weights <= {bound:g})"
    u, core, v = (x.data.numpy() for x in after.constants() if x.name.endswith("weight"))
    (old,) = (x.data.numpy() for x in before.constants() if x.name.endswith("weight"))
    new = np.einsum("oq,qpij,pc->ocij", v[:, :, 0, 0], core, u[:, :, 0, 0])
    assert np.linalg.norm(new - old) <= bound * np.linalg.norm(old)


def test_alternating_sweeps_only_help() -> None:
    weight = np.random.default_rng(0).normal(size=(16, 16, 3, 3))

    def error(sweeps: int) -> float:
        u, core, v = tucker2(weight, (5, 7), sweeps)
        return float(np.linalg.norm(np.einsum("oq,qpij,pc->ocij", v, core, u) - weight))

    errors = [error(n) for n in range(4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < errors[0]


def test_macs_are_within_their_share_and_ranks_are_multiples(lab: Any) -> None:
    before = lab.graph(conv(c=16, o=16))
    after = before.clone()
    PassManager(parse_pipeline("insert-bottleneck{by=macs amount=0.4 multiple=4}")).run(after)
    assert graph_cost(after).total.macs <= 0.4 * graph_cost(before).total.macs
    ranks = [n.output.type.shape[1] for n in after.nodes[:2]]
    assert all(r % 4 == 0 for r in ranks)
    # One step more in either rank would be too much: 16p + 9pq + 16q products a pixel of 2304.
    assert all(
        16 * p + 9 * p * q + 16 * q > 0.4 * 2304 for p, q in ((ranks[0] + 4, ranks[1]), (ranks[0], ranks[1] + 4))
    )


def test_the_bottleneck_of_a_residual_network(lab: Any) -> None:
    graph = lab.graph(conv(c=256, o=256))
    PassManager(parse_pipeline("insert-bottleneck{width=64}")).run(graph)
    # 256 -> 64 -> 64 -> 256 at each of 7x7 pixels.
    assert [n.macs // 49 for n in graph_cost(graph).nodes] == [16384, 36864, 16384]


@pytest.mark.parametrize(
    ("text", "options", "reasons"),
    [
        (conv("pads=[1, 1, 1, 1], groups=2").replace("[8,6,3,3]", "[8,3,3,3]"), "", ["a: is grouped"]),
        (conv("stride=[1, 1]", k=1), "", []),
        (conv(), "amount=1", ["a: would cost 1.23 times as much"]),
        (conv(), "by=macs amount=0.01", ["a: no bottleneck fits into 1% of the arithmetic"]),
        (conv().replace("const %a.weight", "input %a.weight"), "", ["a: 'a.weight' is not a constant"]),
    ],
)
def test_declines(lab: Any, text: str, options: str, reasons: list[str]) -> None:
    lab.refuses(text, f"insert-bottleneck{{{options}}}", reasons)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("amount=0", "Expected a share of energy above 0 and at most 1, got 0."),
        ("by=macs amount=2", "Expected a share of macs above 0 and at most 1, got 2."),
        ("width=-2", "Expected a width of at least 1, or 0 to leave it open, got -2."),
        ("multiple=0", "Expected a multiple of at least 1, got 0."),
    ],
)
def test_options_out_of_range_are_refused(options: str, message: str) -> None:
    with pytest.raises(CnnirError) as caught:
        parse_pipeline(f"insert-bottleneck{{{options}}}")
    assert caught.value.message == message


def test_a_budget_of_arithmetic_promises_nothing() -> None:
    (made,) = parse_pipeline("insert-bottleneck{by=macs amount=0.5}")
    assert made.promise() == RETRAIN
