"""Whatever a user may name as a network: a built-in one, a function in a file, an ONNX file, a saved graph."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cnnir.errors import CnnirError, UnknownNameError
from cnnir.frontends import zoo
from cnnir.frontends.dsl import Architecture, ModelInfo
from cnnir.frontends.dsl.architecture import check_shape
from cnnir.frontends.dsl.place import display_path, user_mistake
from cnnir.frontends.weights import load_weights, names_only_in
from cnnir.ir import Graph, Loc


@dataclass(frozen=True)
class Source:
    """A loaded network.

    `weights_from` says in words where the weights come from; `random_weights` is true where they are only an
    initialisation. `info` is there for architectures written in the DSL.
    """

    graph: Graph
    origin: str
    weights_from: str
    random_weights: bool
    info: ModelInfo | None = None

    @property
    def name(self) -> str:
        """The name of the network."""
        return self.graph.name


def load(
    source: str,
    *,
    weights: Path | None = None,
    seed: int = 0,
    input_shape: tuple[int, ...] | None = None,
    options: Mapping[str, object] | None = None,
) -> Source:
    """Loads `resnet50d` (built in), `file.py:function`, `model.onnx` or `graph.cnnir`.

    Args:
        source: what to load. The function of a file is an `@architecture`, or takes one tensor and is given
            `input_shape`; `file.py` alone will do if it has a single architecture.
        weights: a file of weights (`cnnir.frontends.weights.load_weights`).
        seed: of the initialisation, where an architecture gets no weights.
        input_shape: (channels, height, width) instead of the architecture's own.
        options: the architecture's options (`{"classes": 10}`).

    Raises `CnnirError` with the place for every mistake of the user's.
    """
    options = dict(options or {})
    file, function = _split(source)
    suffix = Path(file).suffix.lower()
    if suffix == ".py":
        with _imported(Path(file)) as module:
            return _from_module(module, file, function, weights, seed, input_shape, options)
    if suffix in (".onnx", ".cnnir"):
        _must_exist(Path(file), source)
        if options or input_shape is not None:
            given = [*options, *(["input_shape"] if input_shape is not None else [])]
            raise CnnirError(f"'{source}' is a finished graph and takes no options, got '{given[0]}'.")
        graph = _read(Path(file), suffix)
        if weights is not None:
            load_weights(graph, weights)
        return Source(graph, source, str(weights or source), False)
    # A name such as mobilenet_v1_0.25 looks a little like a file's.
    if source not in zoo.names() and _looks_like_file(source):
        _must_exist(Path(source), source)
        raise CnnirError(
            f"'{source}' is not a kind of network file that is known.",
            hints=["Known: file.py:function, model.onnx, graph.cnnir."],
        )
    return _from_architecture(zoo.find(source), source, source, weights, seed, input_shape, options)


def _from_architecture(
    architecture: Architecture,
    name: str,
    origin: str,
    weights: Path | None,
    seed: int,
    input_shape: tuple[int, ...] | None,
    options: Mapping[str, object],
) -> Source:
    reserved = {"seed", "training", "name", "input_shape"} & set(options)
    if reserved:
        raise CnnirError(f"'{min(reserved)}' is not an option of an architecture.")

    own: dict[str, Any] = dict(options)

    def build(shape: tuple[int, ...] | None, training: bool) -> Graph:
        return architecture.build(name, seed=seed, input_shape=shape, training=training, **own)

    graph = build(input_shape, False)
    if weights is not None:
        # A file from training holds the training-only heads as well, whose windows need not fit a smaller image.
        load_weights(graph, weights, ignore=names_only_in(build(None, True), graph))
    (info,) = [m for m in architecture.models() if m.name == name]
    return Source(graph, origin, _provenance(weights, seed), weights is None, info)


def _provenance(weights: Path | None, seed: int) -> str:
    return f"random, seed {seed}" if weights is None else str(weights)


def _read(path: Path, suffix: str) -> Graph:
    # Imported late: ONNX takes its time, and the text form needs every operator.
    if suffix == ".onnx":
        from cnnir.frontends.onnx import load as load_onnx

        return load_onnx(path)
    from cnnir.ir.text import load_graph

    return load_graph(path)


def _split(source: str) -> tuple[str, str]:
    """`net.py:tiny` -> (`net.py`, `tiny`); anything else whole."""
    found = re.fullmatch(r"(.+\.py):(.*)", source)
    return (found[1], found[2]) if found else (source, "")


def _looks_like_file(source: str) -> bool:
    return bool(re.search(r"[/\\]|\.[A-Za-z]\w*$", source)) or Path(source).is_file()


def _must_exist(path: Path, source: str) -> None:
    if not path.exists():
        raise CnnirError(f"The file '{path}' does not exist.", at=None if str(path) == source else source)
    if path.is_dir():
        raise CnnirError(f"'{path}' is a folder, expected a file.")


# -- a user's own file


def _from_module(
    module: ModuleType,
    file: str,
    function: str,
    weights: Path | None,
    seed: int,
    input_shape: tuple[int, ...] | None,
    options: Mapping[str, object],
) -> Source:
    own = [m for m in vars(module).values() if isinstance(m, Architecture)]
    by_name = {name: a for a in own for name in a.variants}
    if not function:
        if len(by_name) != 1:
            raise CnnirError(
                f"'{file}' has {len(by_name) or 'no'} architecture{'s' if len(by_name) != 1 else ''}.",
                hints=[f"Write '{file}:NAME'" + (f" with one of: {', '.join(by_name)}." if by_name else ".")],
            )
        (function,) = by_name
    origin = f"{file}:{function}"
    member = getattr(module, function, None)
    if function in by_name:
        return _from_architecture(by_name[function], function, origin, weights, seed, input_shape, options)
    if isinstance(member, Architecture):
        (first, *others) = member.variants
        if others:
            raise CnnirError(
                f"'{origin}' has several variants.", hints=[f"Choose one: {', '.join(member.variants)}."]
            )
        return _from_architecture(member, first, origin, weights, seed, input_shape, options)
    if member is None:
        known = {*by_name, *(n for n, m in vars(module).items() if _is_function_of(m, module))}
        raise UnknownNameError("function", function, known, at=file)
    if not inspect.isfunction(member):
        raise CnnirError(
            f"'{function}' is neither an '@architecture' nor a function.", at=file, notes=[f"It is {member!r}."]
        )
    return _from_function(member, function, origin, weights, seed, input_shape, options)


def _from_function(
    function: Callable[..., object],
    name: str,
    origin: str,
    weights: Path | None,
    seed: int,
    input_shape: tuple[int, ...] | None,
    options: Mapping[str, object],
) -> Source:
    if input_shape is None:
        raise CnnirError(
            f"The input shape of '{name}' is not known.",
            at=origin,
            hints=["Put '@architecture(input=(3, 224, 224))' above the function."],
        )
    as_architecture = Architecture(function, name, {"input": check_shape(input_shape)}, {name: {}})  # type: ignore[arg-type]  # `trace` checks what it returns
    return _from_architecture(as_architecture, name, origin, weights, seed, None, options)


def _is_function_of(member: object, module: ModuleType) -> bool:
    return callable(member) and getattr(member, "__module__", None) == module.__name__


@contextmanager
def _imported(path: Path) -> Iterator[ModuleType]:
    """Runs a user's file as a module of its own, which may import its neighbours; nothing of it stays behind."""
    _must_exist(path, str(path))
    module = ModuleType("user_" + re.sub(r"\W", "_", path.stem))
    module.__file__ = str(path)
    folder = str(path.resolve().parent)
    before = set(sys.modules)
    sys.modules[module.__name__] = module  # dataclasses and typing look modules up there
    sys.path.insert(0, folder)
    try:
        _run(path, module)
        yield module
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if _is_neighbour(sys.modules[name], folder):
                del sys.modules[name]


def _is_neighbour(module: ModuleType, folder: str) -> bool:
    """Whether a module is of the user's folder, rather than installed (perhaps below it) or a part of cnnir."""
    file = getattr(module, "__file__", None)
    if file is None or module.__name__.partition(".")[0] == "cnnir":
        return False
    place = Path(file).resolve()
    return place.is_relative_to(folder) and "site-packages" not in place.parts


def _run(path: Path, module: ModuleType) -> None:
    shown = display_path(str(path))
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CnnirError(f"This is not Python: {error.msg}.", at=Loc(shown, error.lineno or 0)) from error
    except (OSError, ValueError) as error:
        raise CnnirError(f"'{path}' cannot be read as Python: {error}.") from error
    try:
        exec(code, vars(module))
    except CnnirError:
        raise
    except SystemExit as error:
        raise CnnirError("The file ends the program when it is imported.", at=shown) from error
    except Exception as error:
        place = user_mistake(error.__traceback__)
        if place is None:
            raise
        raise CnnirError(f"{type(error).__name__}: {str(error).rstrip('.')}.", at=place) from error
