"""The main job: source -> graph -> passes -> backend -> artifact, whose output is checked before it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cnnir import artifact, runtime
from cnnir.artifact import Manifest, PipelineStep, TensorSpec
from cnnir.backends import onnx as onnx_backend
from cnnir.backends import reference
from cnnir.backends.product import Product
from cnnir.backends.targets import Target, check_precision, parse_target, runs_here
from cnnir.backends.tvm import x86
from cnnir.cache import Cache
from cnnir.data.names import class_names
from cnnir.errors import CnnirError
from cnnir.frontends.source import Source
from cnnir.ir import Array, Graph
from cnnir.passes.base import EXACT
from cnnir.passes.manager import PassManager, PassRecord
from cnnir.passes.pipeline import parse_pipeline
from cnnir.preprocess import Preprocess
from cnnir.validate.numeric import Deviation, ValidationError, compare

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much (0 when unknown)."""

DEFAULT_PIPELINE = "inference"
CHECK_SEED = 20_150_101


@dataclass(frozen=True)
class Options:
    """What `cnnir compile` can be told; `pipeline` is text as on the command line."""

    target: str = "x86"
    precision: str = "fp32"
    pipeline: str = DEFAULT_PIPELINE
    batch: int = 1
    preprocess: Preprocess | None = None
    class_offset: int = 0


@dataclass(frozen=True)
class Compiled:
    """A finished artifact; `deviation` is `None` where this machine cannot run the target's code."""

    path: Path
    manifest: Manifest
    seconds: float
    records: tuple[PassRecord, ...]
    deviation: Deviation | None
    notes: tuple[str, ...] = field(default=())


def compile_source(
    source: Source,
    path: Path,
    options: Options = Options(),  # noqa: B008  # frozen
    *,
    cache: Cache | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Compiled:
    """Compiles, runs the result on seeded inputs, compares it with the float64 reference, and writes `path`.

    Raises:
        CnnirError: the user's mistake (exit code 2), or an output outside the bound of the precision (exit
            code 1). In both cases nothing is written.
    """
    begin = time.perf_counter()
    target = parse_target(options.target)
    check_precision(target, options.precision)
    passes = parse_pipeline(options.pipeline)
    _check_destination(path)
    progress("passes", 0, 0)
    graph = source.graph.clone()
    own = x86.target_passes(target.isa) if target.isa else ()
    records = PassManager((*passes, *own)).run(graph)
    product = _build(graph.clone(batch=options.batch), target, cache, progress)
    manifest = _manifest(source, graph, target, options, product, records)
    progress("check against the float64 reference", 0, 0)
    deviation = None
    notes = []
    if runs_here(target):
        # An exact pipeline answers for the network that came in, any other for the one that it made.
        exact = all(p.promise() == EXACT for p in passes)
        deviation = _check(source.graph if exact else graph, manifest, product, path, options)
        manifest = replace(manifest, validation={**deviation.as_dict(), "seed": CHECK_SEED})
    else:
        notes.append(f"not checked: this machine cannot run '{target.name}'")
    progress("write", 0, 0)
    manifest = artifact.write(path, manifest, product.members)
    return Compiled(path, manifest, time.perf_counter() - begin, tuple(records), deviation, tuple(notes))


def _check_destination(path: Path) -> None:
    if path.is_dir():
        raise CnnirError(f"'{path}' is a folder, expected the name of a file to write.")
    if not path.absolute().parent.is_dir():
        raise CnnirError(f"There is no folder '{path.parent}' to write '{path.name}' to.")


def _build(graph: Graph, target: Target, cache: Cache | None, progress: Progress) -> Product:
    if target.isa is not None:
        return x86.compile_graph(graph, target.isa, cache=cache, progress=progress)
    return onnx_backend.compile_graph(graph)


def _manifest(
    source: Source,
    graph: Graph,
    target: Target,
    options: Options,
    product: Product,
    records: list[PassRecord],
) -> Manifest:
    static = graph.clone(batch=options.batch)

    def specs(values: Mapping[str, tuple[int, ...]], symbolic: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name, "float32", shape, batched=symbolic[name][:1] == (-1,)) for name, shape in values.items()
        )

    inputs = {v.name: v.type.shape for v in static.inputs}
    outputs = {name: v.type.shape for name, v in static.outputs.items()}
    first = next(iter(outputs.values()))
    names = class_names(first[-1], class_offset=options.class_offset) if len(first) == 2 else None
    labels = () if names is None else ("background",) * options.class_offset + tuple(names)
    return Manifest(
        model=source.name,
        batch=options.batch,
        inputs=specs(inputs, {v.name: v.type.shape for v in graph.inputs}),
        outputs=specs(outputs, {name: v.type.shape for name, v in graph.outputs.items()}),
        precision=options.precision,
        target=target.name,
        cpu_features=target.cpu_features,
        pipeline=tuple(PipelineStep(r.name, dict(r.options), str(r.contract)) for r in records),
        preprocessing=None if options.preprocess is None else options.preprocess.to_dict(),
        class_offset=options.class_offset,
        labels=labels,
        weights_from=source.weights_from,
        plan=product.plan,
        execution=product.execution,
    )


def seeded_inputs(graph: Graph, batch: int) -> dict[str, Array]:
    """Standard normal inputs, the same for everybody."""
    rng = np.random.default_rng(CHECK_SEED)
    return {v.name: rng.standard_normal(v.type.with_batch(batch).shape, dtype=np.float32) for v in graph.inputs}


def _check(graph: Graph, manifest: Manifest, product: Product, path: Path, options: Options) -> Deviation:
    """Runs the code from a scratch artifact beside the final one, and compares the first and last image."""
    feeds = seeded_inputs(graph, options.batch)
    scratch = path.with_name(f".{path.name}.check")
    try:
        artifact.write(scratch, manifest, product.members)
        actual = runtime.load(scratch)(**feeds)
    finally:
        scratch.unlink(missing_ok=True)
    picked = sorted({0, options.batch - 1})
    batched = {t.name for t in (*manifest.inputs, *manifest.outputs) if t.batched}

    def pick(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a[picked] if name in batched else a for name, a in arrays.items()}

    expected = reference.run(graph, pick(feeds))
    deviation = compare(pick(actual), expected, precision=options.precision)
    if not deviation.passed:
        raise ValidationError(
            f"The compiled code is wrong: {deviation.summary()}.",
            notes=["Nothing was written."],
            hints=["This is a bug of cnnir: please report the model and this command."],
        )
    return deviation
