"""x86: kernel templates for AVX2 and AVX-512, the layout pass, lowering."""

from cnnir.backends.tvm.x86.backend import check_supported, compile_graph, target_passes

__all__ = ["check_supported", "compile_graph", "target_passes"]
