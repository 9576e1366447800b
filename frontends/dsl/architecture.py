"""Architectures: a function that describes a family of networks, with what a catalogue says about them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.frontends.dsl.arguments import integer
from cnnir.frontends.dsl.place import function_loc, user_loc
from cnnir.frontends.dsl.trace import Outputs, trace
from cnnir.ir import Graph, Loc

Shape = tuple[int, ...]
"""The shape of an input without the batch: (channels, height, width) for an image."""


@dataclass(frozen=True)
class ModelInfo:
    """What a catalogue says about one network.

    `inputs` gives shapes without the batch; `labels` names the set of classes; `baseline` the variant to whose
    complexity the others of its architecture are compared, if there is one.
    """

    name: str
    family: str
    paper: str
    inputs: Mapping[str, Shape]
    labels: str
    doc: str
    baseline: str = ""

    @property
    def input_shape(self) -> Shape:
        """The shape of the first input, without the batch."""
        return next(iter(self.inputs.values()))


@dataclass(frozen=True)
class Architecture:
    """A family of networks: the function that describes them and the table of its variants.

    Called with tensors it is the function itself, so that one architecture can be a part of another.
    """

    function: Callable[..., Outputs]
    family: str
    inputs: Mapping[str, Shape]
    variants: Mapping[str, Mapping[str, object]]
    paper: str = ""
    labels: str = ""
    output: str = "logits"
    baseline: str = ""
    loc: Loc = field(default_factory=user_loc)

    def __call__(self, *args: object, **options: object) -> Outputs:
        return self.function(*args, **options)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    def models(self) -> list[ModelInfo]:
        """One entry a variant."""
        doc = (inspect.getdoc(self.function) or "").partition("\n")[0]
        return [
            ModelInfo(
                name, self.family, self.paper, self._inputs(variant.get("input")), self.labels, doc, self.baseline
            )
            for name, variant in self.variants.items()
        ]

    def build(
        self,
        name: str | None = None,
        *,
        seed: int = 0,
        input_shape: Shape | None = None,
        training: bool = False,
        **options: object,
    ) -> Graph:
        """The graph of a variant (the only one, if there is one), with parameters drawn from `seed`.

        `input_shape` replaces the first input's (channels, height, width); `options` are the function's own, over
        those of the variant. Raises `CnnirError` at the line of the mistake.
        """
        if name is None:
            if len(self.variants) > 1:
                raise CnnirError(
                    f"'{self.name}' has several variants.", hints=[f"Choose one: {', '.join(self.variants)}."]
                )
            (name,) = self.variants
        if name not in self.variants:
            raise UnknownNameError(f"variant of '{self.name}'", name, self.variants)
        chosen = {**self.variants[name], **options}
        inputs = self._inputs(input_shape if input_shape is not None else chosen.get("input"))
        chosen.pop("input", None)
        self._check_options(name, chosen)
        return trace(
            self.function, inputs, name=name, options=chosen, output=self.output, seed=seed, training=training
        )

    def _inputs(self, shape: object) -> dict[str, Shape]:
        inputs = dict(self.inputs)
        if shape is not None:
            inputs[next(iter(inputs))] = check_shape(shape, self.loc)
        return inputs

    def _check_options(self, name: str, options: Mapping[str, object]) -> None:
        parameters = list(inspect.signature(self.function).parameters.values())
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return
        known = [p.name for p in parameters[len(self.inputs) :] if p.kind is not p.VAR_POSITIONAL]
        for option in options:
            if option not in known:
                raise UnknownNameError(f"option of '{name}'", option, known)


def architecture(
    *,
    input: Shape | Mapping[str, Shape],
    family: str | None = None,
    variants: Mapping[str, Mapping[str, object]] | None = None,
    paper: str = "",
    labels: str = "",
    output: str = "logits",
    baseline: str = "",
) -> Callable[[Callable[..., Outputs]], Architecture]:
    """Makes a function from tensors to tensors an architecture.

    Args:
        input: the shape (channels, height, width) of its input, which is called `input`; or names and shapes of
            several, given to the function in that order.
        family: the name of the family (the function's, unless given).
        variants: names of networks, and for each the function's options (`input` among them replaces the shape).
            Without it there is one network, called as the function.
        paper: where the architecture comes from.
        labels: the set of classes that the output scores ("imagenet", "cifar10", ...).
        output: the name of the output, where the function returns a single tensor.
        baseline: the variant with whose complexity `cnnir models` compares the others'.
    """
    loc = user_loc()
    shapes = dict(input) if isinstance(input, Mapping) else {"input": input}
    inputs = {name: check_shape(shape, loc) for name, shape in shapes.items()}

    def decorate(function: Callable[..., Outputs]) -> Architecture:
        if not inspect.isfunction(function):
            raise CnnirError(f"Expected a function under '@architecture', got {function!r}.", at=loc)
        parameters = inspect.signature(function).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(positional) < len(inputs) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise CnnirError(
                f"'{function.__name__}' takes {len(positional)} tensors, but 'input' gives {len(inputs)}.",
                at=function_loc(function),
                hints=[f"Write 'def {function.__name__}({', '.join(inputs)}, ...)'."],
            )
        name = function.__name__
        table = {name: {}} if variants is None else variants
        return Architecture(function, family or name, inputs, table, paper, labels, output, baseline, loc)

    return decorate


def check_shape(shape: object, loc: Loc | None = None) -> Shape:
    """`shape` as positive integers, or `CnnirError`."""
    if isinstance(shape, str) or not isinstance(shape, (tuple, list)) or not shape:
        raise CnnirError(
            f"Expected an input shape such as (3, 224, 224), without the batch, got {shape!r}.", at=loc
        )
    return tuple(integer(d, "input shape", loc or Loc("")) for d in shape)
