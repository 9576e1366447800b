"""From a compiled TVM module to the bytes of a shared object, by the system's C compiler."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnir.errors import CnnirError

_COMPILERS = ("cc", "gcc", "clang")


def c_compiler() -> tuple[str, ...]:
    """The command of the C compiler: `$CC`, else the first of cc, gcc and clang on PATH.

    Raises:
        CnnirError: there is none.
    """
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in _COMPILERS]:
        if path := shutil.which(command[0]):
            return (path, *command[1:])
    what = f"The C compiler '{named[0]}' that CC names" if named else "A C compiler"
    raise CnnirError(
        f"{what} was not found; it links the compiled code.",
        hints=["Install gcc or clang (on Debian and Ubuntu: 'apt-get install gcc libc6-dev'), or set CC."],
    )


def link(module: Any) -> bytes:
    """Links a TVM module of native code, and what it imports, into a shared object.

    The same module gives the same bytes: the linker runs in a folder of its own, on relative names.

    Raises:
        CnnirError: no C compiler, or it fails (its last words are the note).
    """
    compiler = c_compiler()
    with tempfile.TemporaryDirectory(prefix="cnnir-link-") as folder:
        library = Path(folder, "module.so")

        def run_linker(output: str, objects: Sequence[str], **_: object) -> None:
            names = [os.path.relpath(path, folder) for path in objects]
            options = ["-shared", "-fPIC", "-Wl,--build-id=none", "-o", Path(output).name, *names, "-lm"]
            command = [*compiler, *options]
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if result.returncode:
                words = result.stderr.strip().splitlines()
                raise CnnirError(
                    f"The C compiler '{compiler[0]}' could not link the compiled code.",
                    notes=[f"It said: {words[-1]}"] if words else [f"It ended with status {result.returncode}."],
                )

        module.export_library(str(library), fcompile=run_linker, workspace_dir=folder)
        return library.read_bytes()
