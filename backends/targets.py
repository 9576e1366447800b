"""Targets: what a graph can be compiled for, by name."""

from __future__ import annotations

from dataclasses import dataclass

from cnnir.artifact import host_cpu_features
from cnnir.backends.tvm.x86.isa import ISAS, Isa
from cnnir.errors import CnnirError, UnknownNameError


@dataclass(frozen=True)
class Target:
    """A backend, the instruction set it generates for, and the precisions it has."""

    name: str
    backend: str
    description: str
    isa: Isa | None = None
    precisions: tuple[str, ...] = ("fp32",)

    @property
    def cpu_features(self) -> tuple[str, ...]:
        """CPU features, as Linux names them, without which an artifact for this target refuses to load."""
        return self.isa.features if self.isa else ()


TARGETS: tuple[Target, ...] = (
    *(Target(f"x86:{isa.name}", "tvm-x86", f"native code, {isa.lanes} float32 lanes", isa) for isa in ISAS),
    Target("onnx", "onnx", "an optimised ONNX model, executed by ONNX Runtime"),
)


def parse_target(text: str) -> Target:
    """The target of that name; `x86` alone means the widest instruction set of this machine."""
    if text == "x86":
        return _host_target()
    for target in TARGETS:
        if target.name == text:
            return target
    raise UnknownNameError("target", text, ["x86", *(t.name for t in TARGETS)])


def check_precision(target: Target, precision: str) -> None:
    """Refuses a precision that the target does not have."""
    if precision not in target.precisions:
        raise CnnirError(
            f"Target '{target.name}' has no precision '{precision}'.",
            hints=[f"It has: {', '.join(target.precisions)}."],
        )


def runs_here(target: Target) -> bool:
    """Whether this machine has what the target's code needs."""
    return set(target.cpu_features) <= (host_cpu_features() or frozenset())


def _host_target() -> Target:
    for target in TARGETS:
        if target.isa is not None and runs_here(target):
            return target
    names = ", ".join(t.name for t in TARGETS if t.isa)
    raise CnnirError(
        "This machine has none of the instruction sets that target 'x86' generates code for.",
        hints=[f"Name the one of the machine that will run the artifact: {names}."],
    )
