"""Linking: the same module gives the same bytes, and a missing compiler gives one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnnir.backends.tvm.build import CodegenTarget, build_module
from cnnir.backends.tvm.link import c_compiler, link
from cnnir.errors import CnnirError

SOURCE = """
@I.ir_module
class Module:
 @T.prim_func(s_tir=True)
 def cnnir_main(X: T.Buffer((16,), 'float32'), Y: T.Buffer((16,), 'float32'), threads: T.int32):
  T.func_attr({'global_symbol': 'cnnir_main', 'tirx.noalias': True})
  for t in T.parallel(threads):
   Y[t] = T.exp(X[t])
"""


def build() -> bytes:
    return link(build_module(SOURCE, CodegenTarget("x86-64-v3")))


def test_the_same_module_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build()
    assert first[:4] == b"\x7fELF"
    # In another process, folder and temporary folder, with other hashes of strings.
    (tmp_path / "elsewhere").mkdir()
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_link import build
sys.stdout.buffer.write(build())
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path / "elsewhere"), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, cwd=tmp_path, env=environment
    )
    assert done.stdout == first
    assert list((tmp_path / "elsewhere").iterdir()) == []
    for path in (os.getcwd(), str(tmp_path), "cnnir-link-"):  # noqa: PTH109
        assert path.encode() not in first


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(CnnirError, match=r"A C compiler was not found; .* Install gcc or clang") as caught:
        c_compiler()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("CC", "ccache nosuchcc")
    with pytest.raises(CnnirError, match="The C compiler 'ccache' that CC names was not found"):
        c_compiler()


def test_the_compiler_that_cc_names_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "fake cc"
    fake.write_text("#!/bin/sh\necho first >&2\necho 'cannot find -lm' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", f"'{fake}' -O0")
    assert c_compiler() == (str(fake), "-O0")
    with pytest.raises(CnnirError, match=r"could not link the compiled code\. It said: cannot find -lm"):
        build()
