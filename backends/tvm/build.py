"""From TVMScript text to a TVM module: the pass pipeline that keeps kernels free of heap workspaces."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cnnir.runtime.ffi import without_torch

_PACKED = 1  # tvm::CallingConv::kCPackedFunc


@dataclass(frozen=True, slots=True)
class CodegenTarget:
    """What LLVM is told: the CPU it may assume."""

    mcpu: str

    def to_tvm(self) -> Any:
        """The `tvm.target.Target`."""
        tvm = import_tvm()
        return tvm.target.Target({"kind": "llvm", "mcpu": self.mcpu, "opt-level": 3})


def import_tvm() -> Any:
    """The module `tvm`, imported when code is generated and not before: it takes seconds.

    TVM imports PyTorch where it is installed, for seconds more, and for nothing that is used here.
    """
    with without_torch():
        import tvm
    return tvm


def _namespace(script_tirx: Any) -> SimpleNamespace:
    """`T` for the parser, with a `prim_func` that only marks a function as one.

    TVM's own decorator captures the Python stack with source lines, twice a function: a quarter of the time that
    parsing takes, of no use for text that was never a Python function.
    """

    def prim_func(**options: bool) -> SimpleNamespace:
        # The parser reads the options from the syntax tree.
        return SimpleNamespace(dispatch_token="tirx")

    names = {name: getattr(script_tirx, name) for name in dir(script_tirx) if not name.startswith("__")}
    return SimpleNamespace(**{**names, "prim_func": prim_func})


def build_module(source: str, target: CodegenTarget) -> Any:
    """Compiles a module class in TVMScript to a `tvm.runtime.Module` of native code.

    Kernels are private functions: they keep native arguments and internal linkage. `LowerTVMBuiltin` would turn
    every allocation inside a parallel region into a heap workspace, so it runs on the packed entries alone, and
    accumulators of any size stay in registers or on the stack.
    """
    tvm = import_tvm()
    from tvm import tirx
    from tvm.script import ir as script_ir
    from tvm.script import tirx as script_tirx

    tvm_target = target.to_tvm()
    module = tvm.script.from_source(source, extra_vars={"T": _namespace(script_tirx), "I": script_ir})
    module = tirx.transform.BindTarget(tvm_target.with_host(tvm_target))(module)
    pipeline, finalize_host, _ = tirx.get_tir_pipeline("s_tir")
    # CompactBufferAllocation would reshape scratch arrays that are indexed through other scratch arrays.
    with tvm.transform.PassContext(disabled_pass=["s_tir.CompactBufferAllocation"]):
        module = pipeline(module)

    def is_packed(function: Any) -> bool:
        return int(function.attrs.get("calling_conv", 0)) == _PACKED

    entries = finalize_host()(tirx.transform.Filter(is_packed)(module))
    kernels = tirx.transform.Filter(lambda function: not is_packed(function))(module)
    entries.update(tirx.transform.LowerIntrin()(kernels))
    return tvm.get_global_func("target.build.llvm")(entries, tvm_target)
