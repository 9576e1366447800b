"""The static memory plan: one arena, a fixed offset for every activation, space reused when a value is dead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cnnir.backends.tvm.steps import Lowered, Step, View, elements
from cnnir.ir import Graph, Value

ALIGNMENT = 16
"""Elements (of four bytes): buffers begin on cache lines."""

SLACK = 16
"""Elements left free after each buffer: vector loads may read, never write, that far past the end."""


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in elements of the arena, for every value that owns memory there; `roots` resolves views.

    The arena has `size` elements, and behind them `scratch` more for each thread.
    """

    offsets: dict[Value, int]
    size: int
    roots: dict[Value, Value]
    scratch: int = 0

    def root(self, value: Value) -> Value:
        """The value whose buffer this one lives in."""
        return self.roots.get(value, value)


def plan_memory(graph: Graph, lowered: Sequence[Lowered]) -> MemoryPlan:
    """Places activations greedily, largest first, each at the lowest offset free during its whole life.

    Graph inputs and the outputs that a step writes directly are the caller's memory and get no offset.
    """
    roots: dict[Value, Value] = {}
    for item in lowered:
        if isinstance(item, View):
            roots[item.value] = roots.get(item.base, item.base)
    steps = [item for item in lowered if isinstance(item, Step)]
    external = {roots.get(v, v) for v in (*graph.inputs, *graph.outputs.values())}

    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for i, step in enumerate(steps):
        for value in step.writes:
            first.setdefault(value, i)
            last[value] = i
        for value in step.reads:
            last[roots.get(value, value)] = i

    offsets: dict[Value, int] = {}
    placed: list[tuple[int, int, Value]] = []  # offset, end, value
    total = 0
    owners = [value for value in first if value not in external]
    for value in sorted(owners, key=lambda v: (-elements(v), first[v])):
        size = _aligned(elements(value) + SLACK)
        offset = 0
        for begin, end, other in sorted(placed, key=lambda p: p[0]):
            alive_together = first[value] <= last[other] and first[other] <= last[value]
            if alive_together and offset < end and begin < offset + size:
                offset = end
        offsets[value] = offset
        placed.append((offset, offset + size, value))
        total = max(total, offset + size)
    # Steps run one after the other: all of them share the scratch memory.
    scratch = max((_aligned(step.kernel.scratch) for step in steps), default=0)
    return MemoryPlan(offsets, total, roots, scratch)


def check_plan(plan: MemoryPlan, lowered: Iterable[Lowered]) -> None:
    """Raises `AssertionError` if a step would overwrite a value that is still to be read (used by tests)."""
    contents: dict[Value, tuple[int, int]] = {}
    for item in lowered:
        if isinstance(item, View):
            continue
        for value in item.reads:
            root = plan.root(value)
            if root in plan.offsets:
                assert root in contents, f"{item.node} reads '{value.name}', which was overwritten"
        for value in item.writes:
            if value not in plan.offsets:
                continue
            begin = plan.offsets[value]
            end = begin + elements(value)
            for other, (b, e) in list(contents.items()):
                if other is not value and b < end and begin < e:
                    del contents[other]
            contents[value] = (begin, end)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
