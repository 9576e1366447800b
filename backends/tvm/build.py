"""From TVMScript text to a TVM module: the pass pipeline that keeps kernels free of heap workspaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.script import ir as script_ir
from tvm.script import tirx as script_tirx

_PACKED = 1  # tvm::CallingConv::kCPackedFunc


@dataclass(frozen=True, slots=True)
class CodegenTarget:
    """What LLVM is told: the CPU it may assume."""

    mcpu: str

    def to_tvm(self) -> Any:
        return tvm.target.Target({"kind": "llvm", "mcpu": self.mcpu, "opt-level": 3})


def build_module(source: str, target: CodegenTarget) -> Any:
    """Compiles a module class in TVMScript to a `tvm.runtime.Module` of native code.

    Kernels are private functions: they keep native arguments and internal linkage. `LowerTVMBuiltin` would turn
    every allocation inside a parallel region into a heap workspace, so it runs on the packed entries alone, and
    accumulators of any size stay in registers or on the stack.
    """
    tvm_target = target.to_tvm()
    module = tvm.script.from_source(source, extra_vars={"T": script_tirx, "I": script_ir})
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
