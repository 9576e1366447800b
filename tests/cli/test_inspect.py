"""`cnnir inspect`: reports in every form, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_report_and_json(cli: Any) -> None:
    done = cli("inspect", "lenet5", "--json", "--html", "out.html", "--dump-dir", "dump", "--print-after-change")
    value = json.loads(done.out)
    assert "# after fuse-epilogue" in done.err and Path("out.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(p.name for p in Path("dump").iterdir()) == ["00-source.txt", "01-fuse-epilogue.txt"]
    assert value["images"] == 2 and value["data"] == "seeded inputs" and value["weights"] == "random, seed 0"
    (fused,) = (p for p in value["passes"] if p["changed"])
    assert fused["deviation"]["relative_rms"] == 0.0 and fused["deviation"]["top1_agreement"] == 1.0
    assert fused["delta"]["nodes"] == -4 and fused["delta"]["peak_activation_bytes"] < 0


def test_print_after_change(cli: Any) -> None:
    out = cli("inspect", "lenet5", "--images", "0", "--print-after-change").out
    assert "# after fuse-epilogue\ncnnir 1\n" in out and "relative RMS" not in out


def test_images(cli: Any, tiny: Path, photograph: Path) -> None:
    Path("images/0").mkdir(parents=True)
    Path("images/0/a.jpg").write_bytes(photograph.read_bytes())
    value = cli("inspect", f"{tiny}:tiny", "--data", "images", "--preprocess", "tf", "--json").json()
    assert value["images"] == 1 and "images" in value["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--html", "no/out.html"], "There is no folder 'no'"),
        (["--html", "."], "is a folder"),
        (["--data", "missing.npz", "--preprocess", "tf"], "There is no data at 'missing.npz'"),
        (["--data", ".", "--preprocess", "tf"], "Folder '.' has no class folders"),
        (["--images", "-1"], "'--images'"),
    ],
)
def test_refusals(cli: Any, arguments: list[str], message: str) -> None:
    done = cli("inspect", "lenet5", *arguments)
    assert done.code == 2 and message in done.err and "Traceback" not in done.err and done.out == ""
