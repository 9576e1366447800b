"""The whole inspection of a loaded network: inputs, passes, numbers, and latencies if they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from cnnir.bench.latency import Plan
from cnnir.cache import Cache
from cnnir.data import open_dataset
from cnnir.errors import CnnirError
from cnnir.files import write_error
from cnnir.frontends.source import Source
from cnnir.inspect.latency import measure_states
from cnnir.inspect.numerics import Feeds, Progress, image_batches, seeded_batches
from cnnir.inspect.report import Inspection, inspect_pipeline
from cnnir.ir import Graph
from cnnir.ir.text import print_graph
from cnnir.passes.base import Pass
from cnnir.passes.instruments import DumpReproducer, PrintAfterChange
from cnnir.passes.manager import Instrument, PassRecord
from cnnir.preprocess import Preprocess, load_preprocess


class DumpText(Instrument):
    """Writes the text form of the source (`00-source.txt`) and of the graph after each change (`01-NAME.txt`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def start(self, graph: Graph, passes: Sequence[Pass]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CnnirError(
                f"The folder '{self._folder}' cannot be made: {(error.strerror or str(error)).lower()}."
            ) from error
        self._write("source", graph)

    def after(self, p: Pass, graph: Graph, record: PassRecord) -> None:
        if record.changed:
            self._write(record.name, graph)

    def _write(self, name: str, graph: Graph) -> None:
        path = self._folder / f"{self._number:02}-{name}.txt"
        self._number += 1
        try:
            path.write_text(print_graph(graph), encoding="utf-8")
        except OSError as error:
            raise write_error(path, error) from error


def run_inspection(
    source: Source,
    passes: Sequence[Pass],
    *,
    data: str | None = None,
    preprocess: str | None = None,
    images: int = 2,
    measure: bool = False,
    plan: Plan | None = None,
    threads: int = 0,
    dump_dir: Path | None = None,
    echo: TextIO | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Inspection:
    """Inspects a pipeline on a network.

    Args:
        data: images for the reference, as `open_dataset` takes them; seeded inputs without.
        preprocess: preset or JSON file; what the architecture implies if not given.
        images: how many; 0 compares no numbers.
        measure: compile the network after each change, and measure all of them side by side.
        plan: of the measurement.
        threads: of the measurement; 0 for the cores available.
        dump_dir: where the text of every changed graph goes, and the reproducer of a pass that fails.
        echo: where the text of every changed graph is printed.

    Raises:
        CnnirError: images that do not fit, a pass that fails, nothing that can be compiled.
    """
    graph = source.graph
    feeds: list[Feeds] = []
    kind = ""
    if data is not None:
        dataset = open_dataset(data)
        feeds = image_batches(graph, dataset, _preprocess(source, preprocess), images) if images else []
        kind = f"images of {dataset.name}"
    elif images:
        feeds, kind = seeded_batches(graph, images), "seeded inputs"
    instruments: list[Instrument] = [DumpReproducer(dump_dir)]
    if dump_dir is not None:
        instruments.append(DumpText(dump_dir))
    if echo is not None:
        instruments.append(PrintAfterChange(echo))
    inspection = inspect_pipeline(graph, passes, feeds=feeds, data=kind, instruments=instruments, progress=progress)
    inspection = replace(inspection, origin=Path(source.origin).name, weights_from=_weights(source))
    if not measure:
        return inspection
    plan = replace(plan or Plan(), threads=threads)
    graphs = [state.graph for state in inspection.states]
    return inspection.with_latencies(measure_states(source, graphs, plan=plan, cache=Cache(), progress=progress))


def _weights(source: Source) -> str:
    return source.weights_from if source.random_weights else Path(source.weights_from).name


def _preprocess(source: Source, given: str | None) -> Preprocess:
    shape = source.graph.inputs[0].type.shape
    if len(shape) != 4:
        raise CnnirError(f"'{source.name}' takes an input {source.graph.inputs[0].type}, which is no image.")
    if given is None and source.info is not None and source.info.labels == "imagenet" and shape[1] == 3:
        given = "torch"
    if given is None:
        raise CnnirError(
            f"Nothing says how an image becomes the input of '{source.name}'.",
            hints=["Give --preprocess torch, caffe, tf, lite, raw or a JSON file."],
        )
    return load_preprocess(given, (shape[2], shape[3]), channels=shape[1])
