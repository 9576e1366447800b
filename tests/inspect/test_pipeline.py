"""Pass by pass: sizes before and after, remarks, and the difference of the text form."""

from __future__ import annotations

import json

from cnnir.frontends import zoo
from cnnir.inspect.report import Size, inspect_pipeline
from cnnir.ir.text import print_graph
from cnnir.passes.pipeline import parse_pipeline


def test_views() -> None:
    graph = zoo.build("lenet5")
    text = print_graph(graph)
    inspection = inspect_pipeline(graph, parse_pipeline("dce,fuse-epilogue"))
    assert print_graph(graph) == text  # the caller's graph is as it was
    dce, fuse = inspection.views
    before, after = (inspection.states[i].size for i in (fuse.before, fuse.after))
    # 7 layers, 4 activations and a flattening; 61,706 parameters, see the paper's section II.B with dense C3.
    assert (before.nodes, before.params) == (12, 61_706)
    assert not dce.record.changed and dce.before == dce.after == fuse.before and dce.diff == ""
    assert (after.nodes, after.params, after.macs) == (8, 61_706, before.macs)
    assert len([line for line in fuse.diff.splitlines() if line.startswith("-%tanh")]) == 4


def test_repeated_passes_have_a_view_for_each_run() -> None:
    passes = parse_pipeline("repeat(fold-batch-norm,remove-identity)")
    inspection = inspect_pipeline(zoo.build("resnet18"), passes)
    assert [v.record.name for v in inspection.views][:2] == ["fold-batch-norm", "remove-identity"]
    first = inspection.views[0]
    # One batch normalisation behind each of the 20 convolutions.
    assert inspection.states[first.before].size.nodes - inspection.states[first.after].size.nodes == 20
    assert len(first.record.rewrote) == 20


def test_as_dict_is_json() -> None:
    graph = zoo.build("lenet5")
    value = json.loads(json.dumps(inspect_pipeline(graph, parse_pipeline("fuse-epilogue")).as_dict()))
    (view,) = value["passes"]
    assert view["name"] == "fuse-epilogue" and view["contract"] == "exact" and view["changed"] is True
    assert view["after"]["nodes"] == 8 and "+%c1: f32[N,6,28,28]" in view["diff"]
    assert Size.of(graph).nodes == view["before"]["nodes"] == 12


def test_no_pass() -> None:
    assert inspect_pipeline(zoo.build("lenet5"), ()).views == ()
