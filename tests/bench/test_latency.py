"""The whole of a measurement, with engines that sleep and engines that fail."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

from cnnir.bench.engine import LoadRequest
from cnnir.bench.latency import Contender, Plan, measure, turn_order
from cnnir.bench.process import Worker
from cnnir.errors import CnnirError

FAKE = Path(__file__).with_name("fake_engine.py")
QUICK = Plan(rounds=5, calls=3, warmup=1, turn_warmup=1, gap=0.0, threads=1, timeout=20)


def fake(behaviour: str, name: str = "") -> Contender:
    request = LoadRequest(name or "fake", Path("net.onnx"), "fp32", 1)
    return Contender(name or behaviour, request, (sys.executable, str(FAKE), behaviour))


def test_a_whole_run() -> None:
    steps = []
    result = measure(
        fake("sleep=2", "ours"),
        [fake("sleep=8", "slow"), fake("sleep=2,factor=1.001", "wrong")],
        plan=QUICK,
        progress=lambda *step: steps.append(step),
    )
    data = json.loads(json.dumps(result.as_dict()))
    assert {"median_ms", "p90_ms", "p99_ms", "threads", "against"} <= data.keys()
    assert (data["rounds"], data["calls"], data["threads"], data["batch"]) == (5, 3, 1, 1)
    assert result.summary.n == 15 and result.summary.min >= 2.0
    assert data["min_ms"] <= data["median_ms"] <= data["p90_ms"] <= data["p99_ms"]
    slow, wrong = data["against"]
    assert {"name", "version", "precision", "median_ms", "ratio_median", "ratio_interval"} <= slow.keys()
    assert (slow["name"], slow["version"], slow["precision"]) == ("slow", "1.2", "fp32")
    low, high = slow["ratio_interval"]
    assert low <= slow["ratio_median"] <= high
    # Nobody wins by computing something else.
    assert slow["deviation"] == 0.0 and slow["agrees"]
    assert wrong["deviation"] == pytest.approx(1e-3, rel=1e-2) and not wrong["agrees"]
    assert steps[0] == ("loading ours", 0, 3) and steps[-1] == ("measuring", 5, 5)
    assert len(result.round_medians["slow"]) == 5


def test_alone_and_bounded_by_time() -> None:
    result = measure(fake("sleep=1"), plan=Plan(rounds=1000, seconds=0.0, calls=2, gap=0.0, threads=1))
    assert (result.rounds, result.summary.n, result.against) == (1, 2, ())


def test_orders_are_fair() -> None:
    rounds = list(itertools.islice(turn_order(3), 6))
    assert rounds == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [1, 0, 2], [0, 2, 1]]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("crash", r"'crash' ended before it answered \(signal SIGABRT\). Its last words: out of luck"),
        ("exit", r"'exit' ended before it answered \(exit code 3\)."),
        ("garbage", r"'garbage' answered 'load' with no JSON object: 'Welcome!'."),
        ("raise", r"'raise' failed: ZeroDivisionError: one over none"),
        ("sentence", r"net.onnx: 'sentence' failed: The file is 'broken'. Mend it."),
        ("wide", r"'wide' takes \[-1, 3, 8, 4\] for input 'x', we take \[1, 3, 4, 4\]."),
        ("extra", r"'ours' and 'extra' do not run the same network. Expected the outputs"),
    ],
)
def test_failures_are_sentences(behaviour: str, message: str) -> None:
    with pytest.raises(CnnirError, match=message):
        measure(fake("sleep=0", "ours"), [fake(behaviour)], plan=QUICK)


def test_a_worker_that_does_not_answer_is_ended() -> None:
    silent = fake("silent")
    worker = Worker(silent.name, 1, command=silent.command)
    with worker:
        worker.ask({"do": "load", **silent.request.as_dict()}, 20)
        with pytest.raises(CnnirError, match=r"'silent' did not answer 'turn' within 0.2 s."):
            worker.ask({"do": "turn", "calls": 1, "warmup": 0}, 0.2)
    assert worker._process.returncode is not None
    with pytest.raises(CnnirError, match=r"'silent' has ended already."):
        worker.ask({"do": "stop"}, 1)


def test_a_program_that_does_not_start() -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such luck')")
    message = r"\(exit code 1\). Its last words: no such luck"
    with Worker("none", 1, command=command) as worker, pytest.raises(CnnirError, match=message):
        worker.ask({"do": "load"}, 20)


@pytest.mark.parametrize("field", ["rounds", "calls", "batch"])
def test_plans_that_measure_nothing(field: str) -> None:
    with pytest.raises(CnnirError, match=f"Expected '{field}' of at least 1, got 0."):
        Plan(**{field: 0})
