"""The main job: source -> graph -> passes -> backend -> artifact, whose output is checked before it is kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from cnnir.data.names import IMAGENET_CLASSES, cifar10_names, class_names, imagenet_names
from cnnir.errors import CnnirError
from cnnir.frontends.source import Source
from cnnir.ir import Array, Graph
from cnnir.ir.data import digest
from cnnir.manifest import Json
from cnnir.ops.quantize import QUANTIZE_LINEAR
from cnnir.ops.unpool import MAX_POOL_INDICES
from cnnir.passes.base import EXACT
from cnnir.passes.manager import PassManager, PassRecord
from cnnir.passes.pipeline import DEFAULT_PIPELINE, parse_pipeline
from cnnir.preprocess import Preprocess, load_preprocess
from cnnir.validate.numeric import Deviation, ValidationError, compare

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much (0 when unknown)."""

CHECK_SEED = 20_150_101


class WrongCodeError(ValidationError):
    """Compiled code that computes something else than the reference: a bug, never the user's mistake."""


@dataclass(frozen=True)
class Options:
    """What `cnnir compile` can be told.

    Args:
        target, precision: as `cnnir targets` lists them.
        pipeline: passes, as text as on the command line.
        batch: images in one call of the compiled module.
        preprocess: how an image becomes the input; or the name of a preset or JSON file. By default what the
            architecture implies: the preset `torch` for one whose classes are ImageNet's.
        class_offset: outputs before class 0 (1 where the model has a background class).

    Raises:
        CnnirError: a name that does not exist, or a number out of range.
    """

    target: str = "x86"
    precision: str = "fp32"
    pipeline: str = DEFAULT_PIPELINE
    batch: int = 1
    preprocess: Preprocess | str | None = None
    class_offset: int = 0

    def __post_init__(self) -> None:
        check_precision(parse_target(self.target), self.precision)
        parse_pipeline(self.pipeline)
        for name, least in (("batch", 1), ("class_offset", 0)):
            if getattr(self, name) < least:
                raise CnnirError(f"Expected '{name}' of at least {least}, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Compiled:
    """A finished artifact; `deviation` is `None` where this machine cannot run the target's code."""

    path: Path
    manifest: Manifest
    seconds: float
    records: tuple[PassRecord, ...]
    deviation: Deviation | None
    notes: tuple[str, ...] = ()


def compile_source(
    source: Source,
    path: Path,
    options: Options | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Compiled:
    """Compiles, runs the result on seeded inputs, compares it with the float64 reference, and writes `path`.

    Raises:
        CnnirError: the user's mistake (exit code 2), or an output outside the bound of the precision
            (`WrongCodeError`, exit code 1). In both cases nothing is written.
    """
    begin = time.perf_counter()
    options = options or Options()
    check_destination(path, source.origin)
    target = parse_target(options.target)
    passes = parse_pipeline(options.pipeline)
    preprocess, notes = _preprocess(source, options)
    labels = class_labels(source, options.class_offset)
    progress("passes", 0, 0)
    graph = source.graph.clone()
    own = x86.target_passes(target.isa) if target.isa else ()
    records = PassManager((*passes, *own)).run(graph)
    product = _build(graph.clone(batch=options.batch), target, cache, progress)
    manifest = Manifest(
        model=source.name,
        batch=options.batch,
        inputs=_specs({v.name: v.type.shape for v in graph.inputs}, options.batch),
        outputs=_specs({name: v.type.shape for name, v in graph.outputs.items()}, options.batch),
        precision=options.precision,
        target=target.name,
        cpu_features=target.cpu_features,
        pipeline=tuple(PipelineStep(r.name, r.options, str(r.contract)) for r in records),
        preprocessing=None if preprocess is None else preprocess.to_dict(),
        class_offset=options.class_offset,
        labels=labels,
        weights_from=provenance(source),
        plan=product.plan,
        execution=product.execution,
    )
    deviation = None
    if runs_here(target):
        progress("check against the float64 reference", 0, 0)
        # An exact pipeline answers for the network that came in, any other for the one that it made.
        exact = all(p.promise() == EXACT for p in passes)
        deviation = _check(source.graph if exact else graph, manifest, product)
        manifest = replace(manifest, validation={**_rounded(deviation.as_dict()), "seed": CHECK_SEED})
    else:
        notes.append(f"not checked: this machine cannot run '{target.name}'")
    progress("write", 0, 0)
    manifest = artifact.write(path, manifest, product.members)
    return Compiled(path, manifest, time.perf_counter() - begin, tuple(records), deviation, tuple(notes))


def check_destination(path: Path, origin: str = "") -> None:
    """Refuses, before any work is done, a place where an artifact cannot be written, or where its source is."""
    folder = path.absolute().parent
    if path.is_dir():
        raise CnnirError(f"'{path}' is a folder, expected the name of a file to write.")
    if not folder.is_dir():
        raise CnnirError(f"There is no folder '{path.parent}' to write '{path.name}' to.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CnnirError(f"The folder '{path.parent}' may not be written to.")
    if path.exists() and Path(origin).exists() and path.samefile(origin):
        raise CnnirError(f"'{path}' is the source itself, expected another file to write.")


def weights_digest(graph: Graph) -> str:
    """16 hexadecimal digits of a SHA-256 over names, types and bytes of all weights, in any order of them."""
    lines = sorted(f"{v.name} {digest(v.data)}" for v in graph.constants() if v.data is not None)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def provenance(source: Source) -> str:
    """Where the weights come from, without a path: `random, seed 0, sha256 ...` or `resnet.onnx, sha256 ...`."""
    name = source.weights_from if source.random_weights else Path(source.weights_from).name
    return f"{name}, sha256 {weights_digest(source.graph)}"


def class_labels(source: Source, class_offset: int = 0) -> tuple[str, ...]:
    """Names for the outputs of a classifier, by index: what its architecture says it scores, else the classes that
    everybody numbers alike, by how many there are; empty where nothing is known.

    Raises:
        CnnirError: an offset that leaves no class.
    """
    shape = next(iter(source.graph.outputs.values())).type.shape
    outputs = shape[-1]
    if class_offset >= max(outputs, 1):
        raise CnnirError(f"A class offset of {class_offset} leaves no class of the {outputs} outputs.")
    if len(shape) != 2:
        return ()
    if source.info is None:
        names = class_names(outputs, class_offset=class_offset) or ()
    else:
        names = LABELS.get(source.info.labels, tuple)()
    if len(names) != outputs - class_offset:
        return ()
    return ("background",) * class_offset + names


LABELS: Mapping[str, Callable[[], tuple[str, ...]]] = {
    "imagenet": imagenet_names,
    "cifar10": cifar10_names,
    "digits": lambda: tuple("0123456789"),
}
"""The names of the sets of classes that an `@architecture` can name."""


def _preprocess(source: Source, options: Options) -> tuple[Preprocess | None, list[str]]:
    """What was asked for, else what the architecture implies; and what the user should know of it."""
    first = source.graph.inputs[0].type
    channels, *size = first.shape[1:] if len(first.shape) == 4 else (0,)
    given, notes = options.preprocess, list[str]()
    if given is None and source.info is not None and source.info.labels == "imagenet" and channels == 3:
        given = "torch"
        notes.append("no --preprocess given: preset 'torch' is stored, as trained ImageNet models mostly need it")
    outputs = next(iter(source.graph.outputs.values())).type.shape[-1]
    if outputs == IMAGENET_CLASSES + 1 and not options.class_offset:
        notes.append(f"{outputs} outputs: if the first is a background class, compile with --class-offset 1")
    if not isinstance(given, str):
        return given, notes
    if not channels:
        raise CnnirError(f"'{source.name}' takes an input {first}, which is no image.")
    return load_preprocess(given, (size[0], size[1]), channels=channels), notes


def _build(graph: Graph, target: Target, cache: Cache | None, progress: Progress) -> Product:
    if target.isa is not None:
        return x86.compile_graph(graph, target.isa, cache=cache, progress=progress)
    return onnx_backend.compile_graph(graph)


def _specs(shapes: Mapping[str, tuple[int, ...]], batch: int) -> tuple[TensorSpec, ...]:
    """Shapes with a symbolic batch (-1 on axis 0) as those of the compiled module."""
    return tuple(
        TensorSpec(name, "float32", (batch, *shape[1:]) if shape[:1] == (-1,) else shape, shape[:1] == (-1,))
        for name, shape in shapes.items()
    )


def seeded_inputs(graph: Graph, batch: int) -> dict[str, Array]:
    """Standard normal inputs, the same for everybody."""
    rng = np.random.default_rng(CHECK_SEED)
    return {v.name: rng.standard_normal(v.type.with_batch(batch).shape, dtype=np.float32) for v in graph.inputs}


def _check(graph: Graph, manifest: Manifest, product: Product) -> Deviation:
    """Runs the code from a scratch artifact, and compares the outputs of the first and the last image."""
    batch = manifest.batch
    feeds = seeded_inputs(graph, batch)
    # Not beside the final file: what a killed compilation leaves behind is to lie where the system cleans up.
    with tempfile.TemporaryDirectory(prefix="cnnir-check-") as folder:
        scratch = Path(folder, "check.cnnmod")
        artifact.write(scratch, manifest, product.members)
        actual = runtime.load(scratch)(**feeds)
    picked = sorted({0, batch - 1})
    batched = {t.name for t in (*manifest.inputs, *manifest.outputs) if t.batched}

    def pick(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a[picked] if name in batched else a for name, a in arrays.items()}

    expected = reference.run(graph, pick(feeds))
    deviation = compare(pick(actual), expected, precision=manifest.precision)
    if not deviation.passed and manifest.precision == "fp32":
        deviation = _relaxed(deviation, graph, pick(feeds), expected)
    if not deviation.passed:
        raise WrongCodeError(f"The compiled code is wrong: {deviation.summary()}.", notes=["Nothing was written."])
    return deviation


AMPLIFIED = 4.0
"""How much further than NumPy in float32 the compiled code may be from float64: it sums in another order."""


DISCONTINUOUS = (MAX_POOL_INDICES, QUANTIZE_LINEAR)
"""Operators whose result jumps: of two almost equal values another one is the maximum, or rounds the other way."""

FLIPPED = 2e-2
"""Bound for networks with such operators: among a million windows a few are near-ties, whatever the arithmetic."""


def _relaxed(
    deviation: Deviation, graph: Graph, feeds: Mapping[str, Array], expected: Mapping[str, Array]
) -> Deviation:
    """The same deviation under the bound that the network itself sets.

    Deep untrained networks and rounding to integers amplify float32 rounding beyond any fixed bound: what the
    reference loses when it computes in float32 says how much.
    """
    rounding = compare(reference.Interpreter(graph, dtype=np.float32).run(feeds), expected).relative_rms
    steps = any(node.op in DISCONTINUOUS for node in graph.nodes)
    return replace(deviation, bound=max(deviation.bound or 0.0, AMPLIFIED * rounding, FLIPPED if steps else 0.0))


def _rounded(figures: Mapping[str, Json]) -> dict[str, Json]:
    """With three significant digits: the last ones hang on the number of threads of the reference."""

    def rounded(value: Json) -> Json:
        if isinstance(value, float):
            return float(f"{value:.3g}")
        if isinstance(value, Mapping):
            return _rounded(value)
        return [rounded(item) for item in value] if isinstance(value, list) else value

    return {name: rounded(value) for name, value in figures.items()}
