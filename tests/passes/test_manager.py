"""The pass manager, its instruments, and what the matcher and the editor enforce."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import cnnir.ops
from cnnir.analysis import graph_cost
from cnnir.errors import CnnirError, VerificationError
from cnnir.ir import ArrayData, Graph, Node
from cnnir.ir.text import load_graph, print_graph
from cnnir.ops.activation import NEG, RELU, NoAttrs
from cnnir.passes.base import EXACT, Contract, Pass, Repeat, Report, approximate
from cnnir.passes.editor import Editor
from cnnir.passes.instruments import (
    ContractError,
    CostDeltas,
    DumpReproducer,
    NumericCheck,
    PrintAfterChange,
    TextDiff,
    Timing,
)
from cnnir.passes.manager import Instrument, PassError, PassManager, PassRecord
from cnnir.passes.pattern import Anything, Apply, Match, Rule, apply_rules
from cnnir.passes.pipeline import parse_pipeline

assert cnnir.ops

TEXT = """
    input %x: f32[N,2,4,4]
    const %w: f32[2,2,1,1]
    const %scale: f32[2]
    const %bias: f32[2]
    const %mean: f32[2]
    const %var: f32[2]
    %conv: f32[N,2,4,4] = Conv(%x, %w) {kernel_size=[1, 1]}
    %bn: f32[N,2,4,4] = BatchNormalization(%conv, %scale, %bias, %mean, %var)
    %relu: f32[N,2,4,4] = Relu(%bn)
    output "y" = %relu
"""


@dataclass(frozen=True, init=False)
class Custom(Pass):
    """Does what it is told."""

    action: Callable[[Graph], None]
    name: ClassVar[str] = "custom"
    contract: ClassVar[Contract] = EXACT

    def __init__(self, action: Callable[[Graph], None] = lambda graph: None) -> None:
        object.__setattr__(self, "action", action)

    def run(self, graph: Graph, report: Report) -> None:
        report.rewrote("conv", "something")
        self.action(graph)


@dataclass(frozen=True, init=False)
class Sloppy(Custom):
    """A pass that may be off by a hundredth."""

    name: ClassVar[str] = "sloppy"
    contract: ClassVar[Contract] = approximate("relative_max", 0.01)


def scale_weight(factor: float) -> Callable[[Graph], None]:
    def scale(graph: Graph) -> None:
        weight = graph.nodes[0].inputs[1]
        assert weight is not None and weight.data is not None
        weight.data = ArrayData((weight.data.numpy() * np.float32(factor)).astype(np.float32))

    return scale


def test_records_tell_what_happened(lab: Any) -> None:
    graph = lab.graph(TEXT)
    first, second = PassManager(parse_pipeline("constant-folding{max_elements=5},fold-batch-norm")).run(graph)
    assert (first.name, first.options, first.changed, first.contract) == (
        "constant-folding",
        "max_elements=5",
        False,
        EXACT,
    )
    assert second.changed and second.seconds > 0
    assert second.as_dict() == {
        "name": "fold-batch-norm",
        "options": "",
        "contract": "exact",
        "seconds": second.seconds,
        "changed": True,
        "rewrote": [{"node": "bn", "what": "folded into 'conv' before it"}],
        "declined": [],
    }


def test_repetition_goes_on_while_anything_changes(lab: Any) -> None:
    text = """
    input %x: f64[N,2,4,4]
    const %c: f64[2,1,1]
    const %w: f64[2,2,3,3]
    %scaled: f64[N,2,4,4] = Mul(%x, %c)
    %padded: f64[N,2,6,6] = Pad(%scaled) {pads=[0, 0, 1, 1, 0, 0, 1, 1]}
    %conv: f64[N,2,4,4] = Conv(%padded, %w) {kernel_size=[3, 3]}
    output "y" = %conv
    """
    once = lab.graph(text)
    assert PassManager(parse_pipeline("fold-affine,fold-pad")).run(once)
    assert len(once.nodes) == 2
    result = lab.run(text, "repeat(fold-affine,fold-pad)")
    assert len(result.graph.nodes) == 1
    # The second round folded the scale; the third changed nothing and is not on record.
    assert [(r.name, r.changed) for r in result.records] == [
        ("fold-affine", False),
        ("fold-pad", True),
        ("fold-affine", True),
    ]
    by_itself = lab.graph(text)
    report = Report()
    (repeat,) = parse_pipeline("repeat(fold-affine,fold-pad)")
    assert isinstance(repeat, Repeat)
    repeat.run(by_itself, report)
    assert print_graph(by_itself) == print_graph(result.graph)
    assert [str(r) for r in report.rewrites] == result.rewrote


def test_passes_that_undo_each_other_are_stopped(lab: Any) -> None:
    with pytest.raises(VerificationError, match="The passes custom, dce still change something after 32 rounds"):
        PassManager([Repeat((Custom(), *parse_pipeline("dce")))]).run(lab.graph(TEXT))


def stale_type(graph: Graph) -> None:
    wide = graph.inputs[0].type
    graph.nodes[0].output.type = type(wide)(wide.dtype, (*wide.shape[:3], 9))


def other_output(graph: Graph) -> None:
    graph.outputs = {"z": graph.outputs["y"]}


def other_type(graph: Graph) -> None:
    graph.outputs["y"] = graph.nodes[0].inputs[1]  # type: ignore[assignment]


def lost_output(graph: Graph) -> None:
    graph.outputs.clear()


def crash(graph: Graph) -> None:
    raise ZeroDivisionError("of course")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (stale_type, "The type of 'conv' is stale"),
        (other_output, "The graph's outputs changed: expected 'y' f32[N,2,4,4], got 'z' f32[N,2,4,4]"),
        (other_type, "The graph's outputs changed: expected 'y' f32[N,2,4,4], got 'y' f32[2,2,1,1]"),
        (lost_output, "The graph's outputs changed"),
        (lambda graph: graph.inputs.clear(), "'x' is read before it is defined"),
        (crash, "ZeroDivisionError: of course"),
    ],
)
def test_a_broken_pass_is_caught(lab: Any, action: Callable[[Graph], None], words: str) -> None:
    with pytest.raises(PassError) as caught:
        PassManager([Custom(action)]).run(lab.graph(TEXT))
    assert words in str(caught.value)
    assert str(caught.value).startswith("Pass 'custom' failed on graph 'test': ")
    assert caught.value.exit_code == 1


def test_verification_can_be_left_to_the_caller(lab: Any) -> None:
    graph = lab.graph(TEXT)
    PassManager([Custom(stale_type)], verify=False).run(graph)
    with pytest.raises(VerificationError, match="stale"):
        graph.verify()


def test_what_a_pass_says_to_the_user_is_passed_on(lab: Any) -> None:
    def complain(graph: Graph) -> None:
        raise CnnirError("There is no layer 'conv7'.")

    with pytest.raises(CnnirError) as caught:
        PassManager([Custom(complain)], [DumpReproducer()]).run(lab.graph(TEXT))
    assert str(caught.value) == "There is no layer 'conv7'." and caught.value.exit_code == 2


class Log(Instrument):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def start(self, graph: Graph, passes: Any) -> None:
        self.log.append(f"{self.name} start")

    def before(self, p: Pass, graph: Graph) -> None:
        self.log.append(f"{self.name} before {p.name}")

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        self.log.append(f"{self.name} after {record.name}")

    def failed(self, p: Pass, graph: Graph, error: Exception) -> str | None:
        self.log.append(f"{self.name} failed {error}")
        return f"Hint of {self.name}."


def test_instruments_nest(lab: Any) -> None:
    log: list[str] = []
    with pytest.raises(PassError, match=r"Hint of a\. Hint of b\."):
        PassManager([*parse_pipeline("dce"), Custom(crash)], [Log("a", log), Log("b", log)]).run(lab.graph(TEXT))
    assert log == [
        *("a start", "b start", "a before dce", "b before dce", "b after dce", "a after dce"),
        *("a before custom", "b before custom", "a failed of course", "b failed of course"),
    ]


def test_timing_adds_up(lab: Any) -> None:
    timing = Timing()
    records = PassManager(parse_pipeline("dce,fold-batch-norm,dce"), [timing]).run(lab.graph(TEXT))
    assert list(timing.seconds) == ["dce", "fold-batch-norm"]
    assert timing.total == pytest.approx(sum(r.seconds for r in records))


def test_text_is_printed_after_changes_only(lab: Any) -> None:
    out = io.StringIO()
    graph = lab.graph(TEXT)
    PassManager(parse_pipeline("dce,fold-batch-norm,cse"), [PrintAfterChange(out)]).run(graph)
    assert out.getvalue() == f"# after fold-batch-norm\n{print_graph(graph)}\n"


def test_the_difference_in_text(lab: Any) -> None:
    out = io.StringIO()
    PassManager(parse_pipeline("fold-batch-norm,fuse-epilogue,dce"), [TextDiff(out, context=0)]).run(
        lab.graph(TEXT)
    )
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["--- before fold-batch-norm", "+++ after fold-batch-norm"]
    assert "-%relu: f32[N,2,4,4] = Relu(%bn)" in lines
    assert "+%relu: f32[N,2,4,4] = Relu(%conv)" in lines
    assert lines.count("--- before fuse-epilogue") == 1
    assert not any("dce" in line for line in lines)


def test_the_difference_in_cost(lab: Any) -> None:
    costs = CostDeltas()
    graph = lab.graph(TEXT)
    norm = graph_cost(graph).nodes[1]
    PassManager(parse_pipeline("dce,fold-batch-norm,fuse-epilogue"), [costs]).run(graph)
    fold, fuse = costs.deltas
    assert (fold.name, fold.nodes, fold.macs) == ("fold-batch-norm", -1, -norm.macs)
    # Two scales and two biases became two biases; the normalisation became one addition a pixel.
    assert (fold.params, fold.flops) == (-2, 32 - norm.flops)
    # One tensor of 32 floats less is written and read; of constants [2] remain one of four, and the weight.
    assert fold.bytes == -(2 * 32 * 4) - 3 * 2 * 4
    assert (fuse.name, fuse.nodes, fuse.params, fuse.macs, fuse.flops) == ("fuse-epilogue", -1, 0, 0, 0)
    assert fuse.bytes == -(2 * 32 * 4)


def test_numeric_deviation_is_measured(lab: Any) -> None:
    check = NumericCheck(lab.outputs)
    PassManager(parse_pipeline("inference"), [check]).run(lab.graph(TEXT))
    fold, fuse = check.deviations
    # Each weight and bias is rounded once, by u; a sum of two products and a bias moves by a few u of its size.
    assert 0 < fold.relative < 8 * 2**-24
    assert (fuse.name, fuse.relative) == ("fuse-epilogue", 0.0)


@pytest.mark.parametrize(
    ("pass_type", "factor", "fails"),
    [(Custom, 1 + 1e-4, True), (Custom, 1 + 1e-6, False), (Sloppy, 1.001, False), (Sloppy, 1.1, True)],
)
def test_a_small_error_is_rejected(lab: Any, pass_type: type[Custom], factor: float, fails: bool) -> None:
    # Without normalisation, so that the output moves as the weight does.
    graph = lab.graph("""
    input %x: f32[N,2,4,4]
    const %w: f32[2,2,1,1]
    %conv: f32[N,2,4,4] = Conv(%x, %w) {kernel_size=[1, 1]}
    output "y" = %conv
    """)
    check = NumericCheck(lab.outputs)
    manager = PassManager([pass_type(scale_weight(factor))], [check])
    if fails:
        with pytest.raises(ContractError, match=r"promises to be .*, but moved output 'y' by"):
            manager.run(graph)
    else:
        manager.run(graph)
    assert check.deviations[0].relative == pytest.approx(factor - 1, rel=0.2)


def test_not_finite_is_an_infinite_deviation(lab: Any) -> None:
    with pytest.raises(ContractError, match="by inf of"):
        PassManager([Custom(scale_weight(float("nan")))], [NumericCheck(lab.outputs)]).run(lab.graph(TEXT))


def test_a_failure_leaves_a_reproducer(lab: Any, tmp_path: Path) -> None:
    graph = lab.graph(TEXT)
    before = print_graph(graph)

    def break_it(g: Graph) -> None:
        g.nodes.reverse()

    with pytest.raises(PassError) as caught:
        PassManager([*parse_pipeline("dce"), Custom(break_it)], [DumpReproducer(tmp_path / "dump")]).run(graph)
    folder = tmp_path / "dump" / "test-custom"
    assert f"'{folder}'" in str(caught.value)
    assert sorted(p.name for p in folder.iterdir()) == [
        *("before.cnnir", "before.safetensors", "command.txt", "error.txt", "pipeline.txt"),
    ]
    reloaded = load_graph(folder / "before.cnnir")
    assert print_graph(reloaded) == before
    assert "VerificationError" in (folder / "error.txt").read_text()


def test_a_reproducer_that_cannot_be_written_does_not_hide_the_failure(lab: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(PassError, match=r"of course No reproducer could be written to"):
        PassManager([Custom(crash)], [DumpReproducer(blocked)]).run(lab.graph(TEXT))


# -- matcher and editor


class Undo(Rule):
    """Turns Relu to Neg; with its counterpart it never ends."""

    subject = "a"

    def __init__(self, old: Any, new: Any) -> None:
        self._old, self._new = old, new

    @property
    def roots(self) -> tuple[Any, ...]:
        return (self._old,)

    def match(self, node: Node, edit: Editor) -> Any:
        return Match(node, {"a": node})

    def check(self, found: Match, edit: Editor) -> str | None:
        return None

    def rewrite(self, found: Match, edit: Editor) -> str:
        edit.replace(found.root, self._new, NoAttrs(), found.root.inputs)
        return "changed"


def test_rules_that_undo_each_other_are_stopped(lab: Any) -> None:
    with pytest.raises(VerificationError, match="The rules Undo, Undo undo each other"):
        apply_rules(lab.graph(TEXT), (Undo(RELU, NEG), Undo(NEG, RELU)), Report())


class Wrong(Undo):
    def rewrite(self, found: Match, edit: Editor) -> str:
        pooled = cnnir.ops.pool.GLOBAL_AVERAGE_POOL
        edit.replace(found.root, pooled, NoAttrs(), found.root.inputs)
        return "changed"


def test_a_rewrite_cannot_change_a_type(lab: Any) -> None:
    with pytest.raises(VerificationError, match=r"changes its type from f32\[N,2,4,4\] to f32\[N,2,1,1\]"):
        apply_rules(lab.graph(TEXT), (Wrong(RELU, NEG),), Report())


class Commuted(Rule):
    pattern = Apply(
        "add",
        (cnnir.ops.elementwise.ADD,),
        (Apply("relu", (RELU,), (Anything("x"),)), Apply("neg", (NEG,))),
        commutative=True,
    )
    subject = "add"

    def check(self, found: Match, edit: Editor) -> str | None:
        return f"found {found.nodes['relu'].name} of {found.values['x'].name} and {found.nodes['neg'].name}"

    def rewrite(self, found: Match, edit: Editor) -> str:
        raise AssertionError


@pytest.mark.parametrize("operands", ["%r, %n", "%n, %r"])
def test_commutative_patterns_match_in_either_order(lab: Any, operands: str) -> None:
    graph = f"""
    input %x: f32[N,2]
    %r: f32[N,2] = Relu(%x)
    %n: f32[N,2] = Neg(%x)
    %s: f32[N,2] = Add({operands})
    output "y" = %s
    """
    report = Report()
    apply_rules(lab.graph(graph), (Commuted(),), report)
    assert [str(r) for r in report.declines] == ["s: found r of x and n"]


def test_the_best_near_miss_is_reported(lab: Any) -> None:
    graph = """
    input %x: f32[N,2]
    %r: f32[N,2] = Relu(%x)
    %n: f32[N,2] = Abs(%x)
    %s: f32[N,2] = Add(%n, %r)
    output "y" = %s
    """
    report = Report()
    apply_rules(lab.graph(graph), (Commuted(),), report)
    # In the order as written nothing fits; in the other one the Relu does.
    assert [str(r) for r in report.declines] == ["s: reads Abs 'n', not Neg"]


def test_the_editor_keeps_what_others_read(lab: Any) -> None:
    graph = lab.graph(TEXT)
    with (
        pytest.raises(VerificationError, match="Cannot erase 'conv': its value 'conv' is still used"),
        Editor(graph) as edit,
    ):
        edit.erase(graph.nodes[0])


def test_a_pass_of_one_rewrite_a_layer_takes_linear_time(lab: Any) -> None:
    def chain(length: int) -> Graph:
        lines = ["input %x: f32[N,1,2,2]", "const %w: f32[1,1,1,1]"]
        lines += [f"const %{p}: f32[1]" for p in ("s", "b", "m", "var")]
        last = "x"
        for i in range(length):
            lines.append(f"%c{i}: f32[N,1,2,2] = Conv(%{last}, %w) {{kernel_size=[1, 1]}}")
            lines.append(f"%n{i}: f32[N,1,2,2] = BatchNormalization(%c{i}, %s, %b, %m, %var)")
            lines.append(f"%r{i}: f32[N,1,2,2] = Relu(%n{i})")
            last = f"r{i}"
        graph: Graph = lab.graph("\n".join([*lines, f'output "y" = %{last}']))
        return graph

    graph = chain(1000)
    timing = Timing()
    PassManager(parse_pipeline("inference"), [timing]).run(graph)
    assert len(graph.nodes) == 1000
    # 3,000 nodes take a quarter of a second; verifying after each rewrite would take minutes.
    assert timing.total < 5


def test_passes_import_no_backend() -> None:
    code = (
        "import sys, cnnir.passes, cnnir.passes.instruments, cnnir.passes.pipeline\n"
        "heavy = ('cnnir.backends', 'cnnir.frontends', 'torch', 'tvm', 'onnx', 'onnxruntime')\n"
        "print([m for m in sys.modules if m.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
