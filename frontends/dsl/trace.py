"""Runs an architecture's function on symbolic tensors and makes the graph of what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnir.errors import CnnirError
from cnnir.frontends.dsl.arguments import check_name
from cnnir.frontends.dsl.builder import Builder
from cnnir.frontends.dsl.place import function_loc, user_mistake
from cnnir.frontends.dsl.tensor import Pipe, Tensor, not_a_tensor
from cnnir.ir import Graph, Loc, Node, Value


@dataclass(frozen=True)
class TrainingOnly:
    """An output that inference drops, with everything that only it needs (an auxiliary head)."""

    tensor: Tensor


Output = Tensor | TrainingOnly
Outputs = Output | Sequence[Output] | Mapping[str, Output]
"""What an architecture's function returns."""


def training_only(x: Tensor) -> TrainingOnly:
    """Marks an output as used in training only."""
    if not isinstance(x, Tensor):
        raise not_a_tensor(x, "in 'training_only'")
    return TrainingOnly(x)


def trace(
    function: Callable[..., Outputs],
    inputs: Mapping[str, tuple[int, ...]],
    *,
    name: str,
    options: Mapping[str, object] | None = None,
    output: str = "logits",
    seed: int = 0,
    training: bool = False,
) -> Graph:
    """The graph of `function(*tensors, **options)`, the inputs' shapes being without the batch.

    One returned tensor is the output called `output`; of several, the first is, and the others are `output_1`
    and so on; a mapping gives names. Outputs marked as training-only are there only with `training`.
    """
    builder = Builder(seed)
    loc = function_loc(function)
    tensors = [builder.input(n, shape) for n, shape in inputs.items()]
    with builder.active():
        try:
            returned = function(*tensors, **(options or {}))
        except CnnirError:
            raise
        except Exception as error:
            place = user_mistake(error.__traceback__)
            if place is None:
                raise
            raise CnnirError(f"{type(error).__name__}: {_sentence(error)}", at=place) from error
    outputs = _outputs(returned, output, name, loc)
    needed = _needed(o.tensor if isinstance(o, TrainingOnly) else o for o in outputs.values())
    _check_reach(builder, needed, outputs, name, loc)
    kept = {n: o for n, o in outputs.items() if isinstance(o, Tensor)}
    if training:
        kept = {n: o.tensor if isinstance(o, TrainingOnly) else o for n, o in outputs.items()}
    if not kept:
        raise CnnirError(f"'{name}' has no output but training-only ones.", at=loc)
    graph = Graph(name, builder.inputs, {n: o.value for n, o in kept.items()}, builder.nodes)
    alive = _needed(kept.values())
    graph.erase([n for n in builder.nodes if n not in alive])
    return graph


def _outputs(returned: object, output: str, name: str, loc: Loc) -> dict[str, Output]:
    if isinstance(returned, Tensor | TrainingOnly):
        return {output: returned}
    if isinstance(returned, Mapping):
        named = dict(returned)
    elif isinstance(returned, Sequence) and not isinstance(returned, str):
        named = {output if i == 0 else f"{output}_{i}": x for i, x in enumerate(returned)}
    else:
        named = {"": returned}
    for key, x in named.items():
        if not isinstance(x, Tensor | TrainingOnly):
            hints = ["Return a tensor, several in a tuple, or a dict of names and tensors."]
            if x is None and key == "":
                hints = ["Add 'return' before the last expression."]
            elif isinstance(x, Pipe):
                hints = ["Pipe the input through it: 'return image >> ...'."]
            what = "nothing" if x is None else f"{'a layer' if isinstance(x, Pipe) else repr(x)}"
            as_key = f" as output '{key}'" if key else ""
            raise CnnirError(f"'{name}' returned {what}{as_key}, expected a tensor.", at=loc, hints=hints)
        check_name(key, loc)
    if not named:
        raise CnnirError(f"'{name}' returned no outputs, expected at least one tensor.", at=loc)
    return named


def _needed(tensors: Iterable[Tensor]) -> set[Node]:
    found: set[Node] = set()
    pending: list[Value] = [t.value for t in tensors]
    while pending:
        node = pending.pop().producer
        if node is not None and node not in found:
            found.add(node)
            pending += [v for v in node.inputs if v is not None]
    return found


def _check_reach(builder: Builder, needed: set[Node], outputs: Mapping[str, Output], name: str, loc: Loc) -> None:
    """Refuses a network with a part that leads nowhere: nearly always a forgotten assignment."""
    read = {v for node in needed for v in node.inputs if v is not None}
    for key, o in outputs.items():
        value = (o.tensor if isinstance(o, TrainingOnly) else o).value
        if value.producer is None:
            raise CnnirError(f"Output '{key}' of '{name}' is its input unchanged.", at=loc)
    for node in builder.nodes:
        if node not in needed and not any(v.uses for v in node.outputs):
            raise CnnirError(
                f"Nothing uses the result of '{node.name}'.",
                at=node.loc,
                hints=["Assign it ('x = x >> ...'), return it, or remove the layer."],
            )
    for value in builder.inputs:
        if value not in read:
            raise CnnirError(f"'{name}' does not use its input '{value.name}'.", at=loc)


def _sentence(error: Exception) -> str:
    text = str(error).strip() or "no message"
    return text if text.endswith((".", "!", "?")) else text + "."
