"""TVM's runtime without TVM: its FFI, its runtime library and compiled modules, nothing of the compiler.

`import tvm` would load the compiler (LLVM, 150 MB); `libtvm_runtime.so` alone is 3 MB and has all that compiled
code calls.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.abc
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnir.errors import CnnirError
from cnnir.runtime.threads import ThreadPools, set_pool_defaults

PackedFunction = Callable[..., Any]


class _NoTorch(importlib.abc.MetaPathFinder):
    """Answers `import torch` with "not installed", in one thread, while it is on the path."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torch" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return None


@contextmanager
def without_torch() -> Iterator[None]:
    """Imports made in this thread find no torch: `tvm` and `tvm_ffi` import it for nothing whenever it is there.

    It costs seconds and hundreds of megabytes, there is no switch against it, and both take an ImportError for
    an answer. A torch that was imported before stays in use.
    """
    finder = _NoTorch()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def import_ffi() -> ModuleType:
    """`tvm_ffi`, without torch."""
    with without_torch():
        import tvm_ffi
    return tvm_ffi  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TvmRuntime:
    """The loaded runtime: the FFI module, TVM's thread pools, and the loader of shared objects."""

    ffi: ModuleType
    pools: ThreadPools
    load_shared_object: Callable[[str, str], Any]


@functools.cache
def tvm_runtime() -> TvmRuntime:
    """Loads TVM's runtime, once a process.

    Raises:
        CnnirError: it is not installed.
    """
    set_pool_defaults()
    # A top-level package is found without being imported.
    spec = importlib.util.find_spec("tvm")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    libraries = [path for folder in folders if (path := Path(folder, "lib", "libtvm_runtime.so")).is_file()]
    if not libraries:
        raise CnnirError(
            "TVM's runtime library 'libtvm_runtime.so' is not installed.", hints=["Run 'pip install cnnir' again."]
        )
    ffi = import_ffi()  # loads libtvm_ffi.so, which the library needs
    ctypes.CDLL(str(libraries[0]), ctypes.RTLD_GLOBAL)
    pools = ThreadPools(ffi.get_global_func("runtime.config_threadpool"), ffi.get_global_func("runtime.NumThreads"))
    return TvmRuntime(ffi, pools, ffi.get_global_func("ffi.Module.load_from_file.so"))


class Library:
    """A shared object loaded from memory; unloaded with the last reference to this object.

    Where the system has `memfd_create`, no file is written: the loader is given the path of a descriptor. Else
    a private temporary file is removed once loaded.
    """

    def __init__(self, image: NDArray[np.uint8], entry: str) -> None:
        runtime = tvm_runtime()
        self._descriptor = -1
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("cnnir", os.MFD_CLOEXEC)
            with open(self._descriptor, "wb", closefd=False) as file:
                file.write(image.data)
            self._module = runtime.load_shared_object(f"/proc/self/fd/{self._descriptor}", "so")
        else:
            with tempfile.TemporaryDirectory(prefix="cnnir-") as folder:
                path = Path(folder, "module.so")
                path.write_bytes(image.data)
                self._module = runtime.load_shared_object(str(path), "so")
        self.entry: PackedFunction = self._module.get_function(entry)

    def __del__(self) -> None:
        # The loader knows libraries by their path: while this one is loaded, no other may get its descriptor.
        self.__dict__.pop("entry", None)
        self.__dict__.pop("_module", None)
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)


def as_tensor(runtime: TvmRuntime, array: NDArray[Any]) -> Any:
    """A TVM tensor over the memory of an aligned array, which must outlive it.

    Read-only memory (mapped weights) has no export through DLPack; it goes in under a writable alias, and
    generated code never writes to weights.
    """
    if not array.flags.writeable:
        alias = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
        array = np.ndarray(array.shape, array.dtype, buffer=memoryview(alias).cast("B"))
    return runtime.ffi.from_dlpack(array)
