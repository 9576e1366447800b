"""What a bug of ours leaves behind: a folder with everything that is needed to see it again."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from cnnir import __version__
from cnnir.ir import Graph

PACKAGES = ("apache-tvm", "apache-tvm-ffi", "numpy", "onnx", "onnxruntime", "openvino", "torch", "typer", "rich")


def write_bundle(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Writes the command, the versions, the traceback and the text of the graph at hand into a new folder.

    Returns:
        the folder, below that for temporary files; `None` where nothing can be written.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="cnnir-bug-"))
        (folder / "command.txt").write_text(shlex.join(["cnnir", *arguments]) + "\n", encoding="utf-8")
        (folder / "versions.txt").write_text(_versions(), encoding="utf-8")
        (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        if (text := _graph_text(error)) is not None:
            (folder / "graph.cnnir").write_text(text, encoding="utf-8")
    except OSError:
        return None
    return folder


def _versions() -> str:
    lines = [f"cnnir {__version__}", f"Python {sys.version.split()[0]}", platform.platform(), platform.machine()]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return "\n".join(lines) + "\n"


def _graph_text(error: BaseException) -> str | None:
    """The graph that the innermost function on the way to the error held, if any did."""
    graph = None
    cause: BaseException | None = error
    while cause is not None and graph is None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            held = [value for value in frame.f_locals.values() if isinstance(value, Graph)]
            graph = held[-1] if held else graph
        cause = cause.__cause__
    if graph is None:
        return None
    from cnnir.ir.text import print_graph

    try:
        return print_graph(graph)
    except Exception as failure:  # a broken graph may not print, and the bundle is worth having without it
        return f"# the graph '{graph.name}' cannot be printed: {type(failure).__name__}: {failure}\n"
