"""ONNX -> Graph: reads and checks the file, then converts node by node."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import inliner

import cnnir.ops  # noqa: F401  # registers the operators
from cnnir.errors import CnnirError, ShapeError
from cnnir.frontends.onnx.context import Call, Context, Entry, too_large
from cnnir.frontends.onnx.fold import fold, tensor_array
from cnnir.frontends.onnx.gelu import join_gelu
from cnnir.frontends.onnx.table import CONSTANTS_ONLY, CONVERTERS, REFUSED, SUPPORTED
from cnnir.ir import BATCH, Array, DType, Graph, TensorType, Value

OLDEST_OPSET = 7
"""Opset 7 brought NumPy broadcasting; older files are converted by ONNX itself."""

LARGEST_CHECKED = 1 << 31
"""Bytes up to which a model can be serialised, as ONNX's checker does."""


def load(path: str | Path) -> Graph:
    """Imports a `.onnx` file, with its external data if it has any.

    Raises:
        CnnirError: the file cannot be read, is no valid ONNX model, or holds what is not supported.
    """
    path = Path(path)
    try:
        # The format is always protobuf's binary one; without it, onnx guesses from the suffix.
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except FileNotFoundError:
        raise CnnirError(f"There is no file '{path}'.") from None
    except OSError as error:
        raise CnnirError(f"Cannot read '{path}': {error.strerror or error}.") from None
    except (DecodeError, ValueError, TypeError):
        raise CnnirError(
            f"'{path}' is not an ONNX model, or is truncated.", hints=["Download or export it again."]
        ) from None
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise CnnirError(
            f"Cannot read the weights that '{path}' keeps in other files.",
            notes=[f"{str(error).strip().rstrip('.')}."],
            hints=["Keep the weight files in the directory of the model."],
        ) from None
    return from_model(model, path.stem, file=path.name)


def from_model(model: onnx.ModelProto, name: str, *, file: str = "") -> Graph:
    """Imports a model in memory; `name` becomes the graph's, `file` is what places in errors begin with.

    A symbolic or absent first dimension of an input is the batch size `N`; any other must be a number.
    Names of inputs, outputs, weights and nodes are kept (made unique where they are not).

    Raises:
        CnnirError: the model is no valid ONNX, or holds what is not supported.
    """
    file = file or name
    _check_text(model, file)
    if len(model.functions):
        model = _inlined(model, file)
    graph = model.graph
    opset = _opset(model, file)
    if not graph.node or not graph.output:
        raise CnnirError("The model has no nodes or no outputs.", at=file, hints=["The file may be truncated."])
    weights = {t.name: t for t in graph.initializer}
    reads = Counter(i for node in graph.node for i in node.input) + Counter(o.name for o in graph.output)
    nodes = join_gelu(_live(graph), weights, reads)
    _refuse_unknown(nodes, opset, file)
    _check(model, file)
    context = Context(file, opset, reads)
    inputs = [_input(context, i) for i in graph.input if i.name not in weights]
    for tensor in graph.initializer:
        context.entries[tensor.name] = tensor_array(tensor, f"the weights '{tensor.name}'", file)
    for node in nodes:
        _convert(context, node)
    outputs = {o.name: context.value(o.name, f"{file}: output '{o.name}'") for o in graph.output}
    result = Graph(name, inputs, outputs, context.nodes)
    result.verify()
    return result


def _convert(context: Context, proto: Any) -> None:
    name = proto.name or next((o for o in proto.output if o), proto.op_type)
    call = Call(context, proto, name)
    folded = fold(call)
    try:
        results = _results(call, folded)
    except ShapeError as error:
        if error.at is None:
            error.at = str(call.loc)
        raise
    except MemoryError:
        raise call.error(f"'{call.op}' needs more memory than there is.") from None
    if len(results) < sum(1 for o in proto.output if context.reads[o]):
        raise call.error(f"Only the first output of '{call.op}' is supported.")
    for output, entry in zip(proto.output, results, strict=False):
        if output:
            context.entries[output] = entry


def _results(call: Call, folded: Array | None) -> Sequence[Entry]:
    if folded is not None:
        return [folded]
    converter = CONVERTERS.get(call.op) or REFUSED.get(call.op)
    if converter is None:
        raise call.error(
            f"'{call.op}' is supported on constants and sizes only, but input "
            f"'{next((n for n in call.inputs if n), '')}' is computed by the model."
        )
    result = converter(call)
    return result if isinstance(result, Sequence) else [result]


def _check_text(model: Any, file: str) -> None:
    """Names must be text: protobuf hands out bytes where they are not UTF-8."""
    graph = model.graph
    names: list[Any] = [t.name for t in (*graph.initializer, *graph.input, *graph.output)]
    names += [o.domain for o in model.opset_import]
    names += [d.dim_param for i in graph.input for d in i.type.tensor_type.shape.dim]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [a.name for a in node.attribute]
    broken = next((n for n in names if not isinstance(n, str)), None)
    if broken is not None:
        raise CnnirError(
            f"The name {broken!r} is not text.", at=file, hints=["The file is damaged: export it again."]
        )


def _inlined(model: Any, file: str) -> Any:
    """The model with its own functions replaced by their bodies."""
    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise CnnirError("Cannot expand the functions of the model.", at=file, notes=[f"{error}."]) from None


def _opset(model: Any, file: str) -> int:
    versions = [int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")]
    newest = int(onnx.defs.onnx_opset_version())
    if not versions:
        raise CnnirError(
            "The model does not say which opset it uses.", at=file, hints=["It is no ONNX model, or truncated."]
        )
    opset = max(versions)
    if opset < OLDEST_OPSET:
        raise CnnirError(
            f"Opset {opset} is not supported: expected {OLDEST_OPSET} to {newest}.",
            at=file,
            hints=["Convert the model with `onnx.version_converter.convert_version(model, 13)`."],
        )
    if opset > newest:
        raise CnnirError(
            f"Opset {opset} is newer than the installed onnx {onnx.__version__} knows ({newest}).",
            at=file,
            hints=["Upgrade onnx, or export the model with an older opset."],
        )
    return opset


def _live(graph: Any) -> list[Any]:
    """The nodes that the outputs depend on, in the order of the file."""
    wanted = {o.name for o in graph.output}
    live = []
    for node in reversed(graph.node):
        if any(o in wanted for o in node.output):
            live.append(node)
            wanted.update(node.input)
    return live[::-1]


def _refuse_unknown(nodes: Iterable[Any], opset: int, file: str) -> None:
    """Lists everything that is not supported at once, so that a user sees how far a model is from working."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        known = node.op_type in SUPPORTED or node.op_type in CONSTANTS_ONLY or node.op_type in REFUSED
        if not known or node.domain not in ("", "ai.onnx"):
            title = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
            found.setdefault(title, []).append(node.name or next(iter(node.output), ""))
    if not found:
        return
    title, (first, *others) = next(iter(found.items()))
    notes = []
    if len(found) > 1 or others:
        notes.append(f"Not supported: {', '.join(f'{t} ({_times(n)})' for t, n in found.items())}.")
    near = {t: difflib.get_close_matches(t.rpartition(".")[2], SUPPORTED, n=1, cutoff=0.6) for t in found}
    nearest = [f"the nearest to '{t}' is '{n[0]}'" for t, n in near.items() if n]
    if nearest:
        notes.append(f"Of the supported ones, {', '.join(nearest)}.")
    raise CnnirError(
        f"ONNX operator '{title}' (opset {opset}) is not supported.",
        at=f"{file}: node '{first}'",
        notes=notes,
        hints=[
            f"Supported: {', '.join(sorted(SUPPORTED))}; "
            f"on constants and sizes also {', '.join(sorted(CONSTANTS_ONLY))}."
        ],
    )


def _times(names: Sequence[str]) -> str:
    return f"node '{names[0]}'" if len(names) == 1 else f"{len(names)} nodes, first '{names[0]}'"


def _check(model: Any, file: str) -> None:
    """ONNX's own checker on the model without the bytes of its weights, which it would only copy."""
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    graph = light.graph
    graph.name = "graph"  # that of the file does not matter
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    if model.graph.sparse_initializer:
        raise CnnirError("Sparse weights are not supported.", at=file)
    for info in (*graph.input, *graph.output):
        if info.type.WhichOneof("value") == "tensor_type" and not info.type.tensor_type.HasField("shape"):
            # Shapes of outputs are inferred anyway; that of an input is asked for later, with a hint.
            info.type.tensor_type.shape.SetInParent()
    declared = {i.name for i in graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in declared:
            # As an input: the checker asks of weights that their bytes are there.
            declared.add(tensor.name)
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    if light.ByteSize() >= LARGEST_CHECKED:
        return
    try:
        onnx.checker.check_model(light)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split("==>")[0].split())
        raise CnnirError("Not a valid ONNX model.", at=file, notes=[f"{reason.rstrip('.')}."]) from None


def _input(context: Context, proto: Any) -> Value:
    at = f"{context.file}: input '{proto.name}'"
    if proto.type.WhichOneof("value") != "tensor_type":
        raise CnnirError("Expected a tensor.", at=at)
    tensor = proto.type.tensor_type
    if not tensor.HasField("shape"):
        raise CnnirError("Its shape is not known.", at=at, hints=["Export the model with the shape of its inputs."])
    try:
        dtype = DType.of(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, TypeError, ValueError):
        raise CnnirError(f"Element type {tensor.elem_type} is not supported.", at=at) from None
    except CnnirError as error:
        error.at = at
        raise
    shape: list[int] = []
    for i, dim in enumerate(tensor.shape.dim):
        size = int(dim.dim_value) if dim.WhichOneof("value") == "dim_value" else 0
        if size > 0:
            shape.append(size)
        elif i == 0 and size == 0:
            shape.append(BATCH)
        else:
            label = f"'{dim.dim_param}'" if dim.dim_param else str(size) if size else "unknown"
            fix = (
                f" --dim_param {dim.dim_param} --dim_value SIZE"
                if dim.dim_param
                else f" --input_name {proto.name} --input_shape ..."
            )
            raise CnnirError(
                f"Dimension {i} is {label}: expected a number (only the first may be symbolic, the batch size).",
                at=at,
                hints=[
                    "Export the model with a fixed size, or fix it with "
                    f"`python -m onnxruntime.tools.make_dynamic_shape_fixed{fix} IN.onnx OUT.onnx`."
                ],
            )
    if too_large(shape):
        raise CnnirError(f"Its shape {shape} is too large.", at=at, hints=["The file may be damaged."])
    value = Value(context.unique(proto.name), TensorType(dtype, tuple(shape)))
    context.entries[proto.name] = value
    return value
