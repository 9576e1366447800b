"""Who may import whom: the layers of the design, held by reading every file; and what a running model imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"cnnir": "cnnir", "frontends": "cnnir.frontends", "passes": "cnnir.passes", "backends": "cnnir.backends"}

# Each part may import itself, `cnnir` (the version) and the parts named here.
_FILES = {"cnnir.errors", "cnnir.files"}
_ARTIFACT = {"cnnir.errors", "cnnir.files", "cnnir.manifest", "cnnir.artifact"}
_CORE = {*_FILES, "cnnir.ir", "cnnir.ops", "cnnir.analysis"}
_COMPILER = {*_CORE, *_ARTIFACT, "cnnir.passes", "cnnir.cache"}
_WHOLE = {*_COMPILER, "cnnir.frontends", "cnnir.backends", "cnnir.runtime", "cnnir.data", "cnnir.preprocess"}
ALLOWED: dict[str, set[str]] = {
    "cnnir": set(),
    "cnnir.errors": set(),
    "cnnir.files": {"cnnir.errors"},
    "cnnir.manifest": {"cnnir.errors"},
    "cnnir.artifact": _ARTIFACT,
    "cnnir.cache": _FILES,
    "cnnir.runtime": _ARTIFACT,
    "cnnir.ir": _FILES,
    "cnnir.ops": {*_FILES, "cnnir.ir"},
    "cnnir.analysis": {*_FILES, "cnnir.ir", "cnnir.ops"},
    "cnnir.passes": _CORE,
    "cnnir.frontends": _COMPILER,
    "cnnir.backends": {*_COMPILER, "cnnir.runtime"},
    "cnnir.data": {*_FILES, "cnnir.ir", "cnnir.preprocess"},
    "cnnir.preprocess": _FILES,
    "cnnir.validate": _WHOLE,
    "cnnir.compiler": {*_WHOLE, "cnnir.validate"},  # it ends by checking its own output
    "cnnir.bench": {*_WHOLE, "cnnir.validate", "cnnir.compiler"},
    "cnnir.inspect": {*_WHOLE, "cnnir.validate", "cnnir.compiler", "cnnir.bench"},
    "cnnir.cli": {*_WHOLE, "cnnir.validate", "cnnir.compiler", "cnnir.bench", "cnnir.inspect"},
    "cnnir.__main__": {"cnnir.cli"},
}

# Heavy packages: where an import when the module loads is allowed; elsewhere only inside the function in need.
EAGER: dict[str, tuple[str, ...]] = {
    "tvm": ("cnnir.backends.tvm",),
    "onnx": ("cnnir.frontends.onnx", "cnnir.backends.onnx"),
    "tvm_ffi": (),
    "onnxruntime": (),
    "openvino": (),
    "scipy": ("cnnir.ops", "cnnir.backends.reference"),
    "timm": (),
    "torch": (),
    "torchvision": (),
}


@dataclass(frozen=True)
class Import:
    """An import statement: who, where, of what, and whether it runs when the module loads."""

    module: str
    place: str
    target: str
    eager: bool
    relative: bool


def source_files() -> Iterator[tuple[str, Path]]:
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "cnnir" and parts[0] in FOLDERS:  # the links
                continue
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def imports(module: str, path: Path) -> Iterator[Import]:
    def visit(node: ast.AST, eager: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            place = f"{path.relative_to(ROOT)}:{getattr(child, 'lineno', 0)}"
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, place, alias.name, eager, False)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                # `from cnnir import runtime` is a module, `from cnnir.ir import Graph` is not: part_of() tells.
                for alias in child.names:
                    yield Import(module, place, f"{base}.{alias.name}", eager, child.level > 0)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            yield from visit(child, eager and not inside and not typing_only)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


ALL = [one for module, path in source_files() for one in imports(module, path)]


def part_of(name: str) -> str:
    """The entry of the table that a module belongs to."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:length])) in ALLOWED:
            return prefix
    raise AssertionError(f"'{name}' is no part of cnnir")


def test_the_files_are_found() -> None:
    modules = {module for module, _ in source_files()}
    assert {
        "cnnir",
        "cnnir.ir.graph",
        "cnnir.runtime.module",
        "cnnir.passes",
        "cnnir.backends.tvm.build",
    } <= modules
    targets = {(one.module, one.target) for one in ALL}
    assert ("cnnir.artifact", "cnnir.errors.CnnirError") in targets


def test_every_part_is_in_the_table() -> None:
    unknown = {
        module
        for module, path in source_files()
        if part_of(module) == "cnnir" and path != ROOT / "cnnir" / "__init__.py"
    }
    assert not unknown, "add them to ALLOWED"


def test_imports_point_one_way() -> None:
    wrong = []
    for one in ALL:
        if one.target.split(".")[0] != "cnnir":
            continue
        importer, imported = part_of(one.module), part_of(one.target)
        if imported not in {importer, "cnnir", *ALLOWED[importer]}:
            wrong.append(f"{one.place}: {importer} imports {one.target}")
    assert not wrong, "\n".join(wrong)


def test_the_table_points_one_way() -> None:
    """No two parts may import each other, directly or not."""

    def reach(part: str, seen: set[str]) -> set[str]:
        for other in ALLOWED[part] - {part} - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    for part in ALLOWED:
        assert part not in reach(part, set()) - {part}
        for other in reach(part, set()):
            assert part not in reach(other, set()), f"{part} and {other}"


def test_no_relative_imports() -> None:
    assert [one.place for one in ALL if one.relative] == []


def test_heavy_packages_are_imported_late() -> None:
    wrong = []
    for one in ALL:
        allowed = EAGER.get(one.target.split(".")[0])
        if allowed is None or not one.eager:
            continue
        if not any(one.module == prefix or one.module.startswith(f"{prefix}.") for prefix in allowed):
            wrong.append(f"{one.place}: {one.module} imports {one.target} when it loads")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("forbidden", ["import tvm", "def f():\n  if x:\n    import tvm", "class A:\n  import tvm"])
def test_the_reader_sees_what_is_hidden(forbidden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "x.py"
    path.write_text(forbidden)
    (found,) = imports("cnnir.x", path)
    assert found.target == "tvm"
    assert found.eager == ("def" not in forbidden)


def test_running_a_model_imports_no_compiler(tmp_path: Path) -> None:
    """A fresh process loads and runs an artifact; what it imported is known by name."""
    artifact = tmp_path / "model.cnnmod"
    build = f"""
from cnnir.runtime.ffi import import_ffi
import_ffi()
import numpy as np
from cnnir.artifact import Manifest, TensorSpec, TvmExecution, write
from cnnir.backends.tvm.build import CodegenTarget, build_module
from cnnir.backends.tvm.link import link
source = '''
@I.ir_module
class Module:
 @T.prim_func(s_tir=True)
 def cnnir_main(X: T.Buffer((1, 16), 'float32'), W: T.Buffer((16,), 'float32'), A: T.Buffer((16,), 'float32'),
                Y: T.Buffer((1, 16), 'float32'), threads: T.int32):
  T.func_attr({{'global_symbol': 'cnnir_main', 'tirx.noalias': True}})
  for i in T.parallel(16):
   Y[0, i] = X[0, i] * W[i]
'''
spec = lambda name: TensorSpec(name, "float32", (1, 16))
manifest = Manifest(model="m", inputs=(spec("x"),), outputs=(spec("y"),), target="x86-avx2",
                    execution=TvmExecution("lib.so", "weights.bin", 64))
library = link(build_module(source, CodegenTarget("x86-64-v3")))
write({str(artifact)!r}, manifest, {{"lib.so": library, "weights.bin": np.arange(16, dtype=np.float32)}})
"""
    subprocess.run([sys.executable, "-c", build], check=True)
    run = f"""
import json, sys
import numpy as np
from cnnir import runtime
result = runtime.load({str(artifact)!r})(np.full((1, 16), 2, np.float32))["y"]
libraries = open("/proc/self/maps").read() if sys.platform == "linux" else ""
print(json.dumps([result[0].tolist(), sorted(sys.modules), "libtvm_compiler" in libraries, "LLVM" in libraries]))
"""
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    values, modules, compiler, llvm = json.loads(done.stdout)
    assert values == [2.0 * i for i in range(16)]
    assert not compiler and not llvm
    ours = {name for name in modules if name.split(".")[0] == "cnnir"}
    assert ours <= {"cnnir", "cnnir.errors", "cnnir.files", "cnnir.manifest", "cnnir.artifact"} | {
        name for name in ours if part_of(name) == "cnnir.runtime"
    }
    heavy = {name.split(".")[0] for name in modules} & (set(EAGER) - {"tvm_ffi"} | {"PIL", "safetensors", "jinja2"})
    assert heavy == set()
