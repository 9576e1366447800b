"""Runs an architecture's function on symbolic tensors and makes the graph of what it did."""

from __future__ import annotations

import inspect
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
    """An output that inference drops, with everything that only it needs (an auxiliary head).

    As a function it is not even built for inference, so that its windows need not fit small images.
    """

    tensor: Tensor | Callable[[], Tensor]

    def built(self) -> TrainingOnly:
        return self if isinstance(self.tensor, Tensor) else training_only(self.tensor())


Output = Tensor | TrainingOnly
Outputs = Output | Sequence[Output] | Mapping[str, Output]
"""What an architecture's function returns."""


def training_only(x: Tensor | Callable[[], Tensor]) -> TrainingOnly:
    """Marks an output as used in training only: a tensor, or a function without arguments that makes it then."""
    if not isinstance(x, Tensor) and (isinstance(x, Pipe) or not callable(x)):
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
    images = [builder.input(n, shape) for n, shape in inputs.items()]
    _check_arguments(function, images, options or {}, name, loc)
    with builder.active():
        try:
            returned = function(*images, **(options or {}))
            if training:
                returned = _built(returned)
        except CnnirError:
            raise
        except Exception as error:
            place = user_mistake(error.__traceback__)
            if place is None:
                raise
            raise CnnirError(f"{type(error).__name__}: {_sentence(error)}", at=place) from error
    outputs = _outputs(returned, output, name, loc)
    described = {n: o.tensor if isinstance(o, TrainingOnly) else o for n, o in outputs.items()}
    tensors = {n: x for n, x in described.items() if isinstance(x, Tensor)}
    _check_reach(builder, _needed(tensors.values()), tensors, name, loc)
    kept = tensors if training else {n: o for n, o in outputs.items() if isinstance(o, Tensor)}
    if not kept:
        raise CnnirError(f"'{name}' has no output but training-only ones.", at=loc)
    graph = Graph(name, builder.inputs, {n: o.value for n, o in kept.items()}, builder.nodes)
    alive = _needed(kept.values())
    graph.erase([n for n in builder.nodes if n not in alive])
    return graph


def _check_arguments(
    function: Callable[..., Outputs], tensors: Sequence[Tensor], options: Mapping[str, object], name: str, loc: Loc
) -> None:
    try:
        inspect.signature(function).bind(*tensors, **options)
    except TypeError as error:
        raise CnnirError(
            f"'{name}' does not fit its {len(tensors)} inputs and its options: {error}.",
            at=loc,
            hints=["Its first arguments are the inputs; give every other one a default or an option."],
        ) from None


def _built(returned: Outputs) -> Outputs:
    """With training-only outputs that are functions called; anything else, mistakes too, as it is."""
    if isinstance(returned, TrainingOnly):
        return returned.built()
    if isinstance(returned, Mapping):
        return {n: x.built() if isinstance(x, TrainingOnly) else x for n, x in returned.items()}
    if isinstance(returned, list | tuple):
        return [x.built() if isinstance(x, TrainingOnly) else x for x in returned]
    return returned


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


def _check_reach(builder: Builder, needed: set[Node], outputs: Mapping[str, Tensor], name: str, loc: Loc) -> None:
    """Refuses a network with a part that leads nowhere: nearly always a forgotten assignment."""
    read = {v for node in needed for v in node.inputs if v is not None}
    for key, x in outputs.items():
        if x.value.producer is None:
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
