"""Instruction sets that the x86 templates are generated for."""

from __future__ import annotations

from dataclasses import dataclass

from cnnir.backends.tvm.build import CodegenTarget


@dataclass(frozen=True, slots=True)
class Isa:
    """A vector instruction set: float32 lanes and registers, what LLVM is told, what the CPU must have.

    `mcpu` names the oldest CPU that has the features, never the machine that compiles; `features` are spelled
    as in /proc/cpuinfo.
    """

    name: str
    lanes: int
    registers: int
    mcpu: str
    features: tuple[str, ...]

    @property
    def target(self) -> CodegenTarget:
        return CodegenTarget(self.mcpu)


AVX2 = Isa("avx2", 8, 16, "haswell", ("avx2", "fma"))
AVX512 = Isa(
    "avx512",
    16,
    32,
    "skylake-avx512",
    ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd", "avx2", "fma"),
)

ISAS = (AVX512, AVX2)
"""Every instruction set, the best first."""
