"""What a graph computes on some images, in float64: outputs, and a sample of what every node puts out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnir.backends.reference import Interpreter
from cnnir.data import Dataset
from cnnir.errors import CnnirError
from cnnir.ir import Array, Graph, Node
from cnnir.preprocess import Preprocess
from cnnir.validate.numeric import Deviation, compare

Feeds = Mapping[str, Array]
"""One array a graph input, by name."""

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much (0 when unknown)."""

SEED = 20_150_101
"""Of the inputs where no images are given."""

SAMPLE = 4096
"""Elements of a node's output that are kept of every batch, evenly spread; fewer where there are fewer."""

BATCH_ELEMENTS = 1 << 18
"""Elements of the input in one batch: two images of 224 by 224, which keeps float64 activations in memory."""


@dataclass(frozen=True)
class Observation:
    """Outputs `[images, ...]` by name, and samples of the first output of every node by the node's name.

    Two nodes of equal shape are sampled at the same places, so that their samples can be compared.
    """

    outputs: Mapping[str, Array]
    samples: Mapping[str, tuple[tuple[int, ...], Array]]


@dataclass(frozen=True, slots=True)
class Change:
    """How far the outputs after differ from those before; `top1` is the share of images with the same best class.

    `top1` is `None` where no output is a row of scores.
    """

    deviation: Deviation
    top1: float | None

    def as_dict(self) -> dict[str, Any]:
        figures = self.deviation.as_dict()
        del figures["bound"]
        return figures | {"top1_agreement": self.top1}


def observe(graph: Graph, feeds: Sequence[Feeds], progress: Progress, what: str) -> Observation:
    """Runs the reference on each of the batches."""
    interpreter = Interpreter(graph)
    outputs: dict[str, list[Array]] = {}
    samples: dict[str, list[Array]] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def tap(node: Node, values: Sequence[Array]) -> None:
        flat = values[0].reshape(-1)
        samples.setdefault(node.name, []).append(flat[:: max(1, flat.size // SAMPLE)].copy())
        shapes[node.name] = values[0].shape[1:]

    for i, batch in enumerate(feeds):
        progress(what, i, len(feeds))
        for name, array in interpreter.run(batch, tap=tap).items():
            outputs.setdefault(name, []).append(array)
    progress(what, len(feeds), len(feeds))
    return Observation(
        {name: np.concatenate([np.atleast_1d(a) for a in arrays]) for name, arrays in outputs.items()},
        {name: (shapes[name], np.concatenate(parts)) for name, parts in samples.items()},
    )


def change(before: Observation, after: Observation) -> Change:
    """The deviation of what a graph computes after a pass from what it computed before.

    Raises:
        ValidationError: outputs that cannot be compared, such as ones that are not finite.
    """
    return Change(compare(after.outputs, before.outputs), _agreement(before.outputs, after.outputs))


def _agreement(before: Mapping[str, Array], after: Mapping[str, Array]) -> float | None:
    for name, scores in before.items():
        rows = scores.reshape(len(scores), -1)
        if rows.shape[1] > 1 and max(scores.shape[1:], default=0) == rows.shape[1]:
            other = after[name].reshape(rows.shape)
            return float(np.mean(rows.argmax(axis=1) == other.argmax(axis=1)))
    return None


def node_errors(source: Graph, at_source: Observation, graph: Graph, now: Observation) -> dict[str, float]:
    """Relative RMS deviation of every node's sample from that of the source node whose value it computes.

    That is the last of its origins in the order of the source (`Conv` from `conv1`, `bn1`, `relu1` puts out what
    `relu1` did). A node that stands for nothing in the source, or for something of another shape, has no error.
    """
    order = {node.name: i for i, node in enumerate(source.nodes)}
    errors: dict[str, float] = {}
    for node in graph.nodes:
        known = [name for name in node.origins if name in order]
        if not known:
            continue
        shape, expected = at_source.samples[max(known, key=order.__getitem__)]
        own, actual = now.samples[node.name]
        if own == shape and actual.shape == expected.shape:
            errors[node.name] = _relative(actual.astype(np.float64), expected.astype(np.float64))
    return errors


def _relative(actual: Array, expected: Array) -> float:
    difference, size = float(np.linalg.norm(actual - expected)), float(np.linalg.norm(expected))
    if not math.isfinite(difference):
        return math.inf
    return 0.0 if difference == 0.0 else math.inf if size == 0.0 else difference / size


def seeded_batches(graph: Graph, images: int) -> list[Feeds]:
    """Standard normal inputs (integers from 0 to 127 where the graph takes integers), the same for everybody."""
    rng = np.random.default_rng(SEED)
    result: list[Feeds] = []
    for size in _batches(graph, images):
        feeds: dict[str, Array] = {}
        for value in graph.inputs:
            shape, dtype = value.type.with_batch(size).shape, value.type.dtype
            numbers = rng.standard_normal(shape) if dtype.is_float else rng.integers(0, 128, shape)
            feeds[value.name] = numbers.astype(dtype.numpy)
        result.append(feeds)
    return result


def image_batches(graph: Graph, dataset: Dataset, prepare: Preprocess, images: int) -> list[Feeds]:
    """The first `images` of a data set, preprocessed.

    Raises:
        CnnirError: a graph with several inputs, a damaged image, or too few for the batch size of the graph.
    """
    if len(graph.inputs) != 1:
        raise CnnirError(f"Images need a network with one input, '{graph.name}' has {len(graph.inputs)}.")
    (value,) = graph.inputs
    result: list[Feeds] = []
    begin = 0
    for size in _batches(graph, min(images, len(dataset))):
        if begin + size > len(dataset):
            raise CnnirError(f"'{graph.name}' takes {size} images at once, '{dataset.name}' has {len(dataset)}.")
        picked = range(begin, begin + size)
        batch = np.stack([prepare.apply(dataset.image(i), name=dataset.id(i)) for i in picked])
        result.append({value.name: batch.astype(value.type.dtype.numpy)})
        begin += size
    return result


def _batches(graph: Graph, images: int) -> list[int]:
    """Sizes of the batches; a graph whose batch size is fixed gets as many of these as fit, at least one."""
    fixed = {v.type.shape[0] for v in graph.inputs if v.type.is_static and v.type.rank}
    if fixed:
        size = max(fixed)
        return [size] * max(1, images // max(size, 1))
    elements = sum(math.prod(v.type.shape[1:]) for v in graph.inputs)
    size = max(1, BATCH_ELEMENTS // max(elements, 1))
    return [min(size, images - begin) for begin in range(0, images, size)]
