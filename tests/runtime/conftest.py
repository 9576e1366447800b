"""Small artifacts of hand-written TVMScript, compiled once a session."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from cnnir.artifact import Manifest, TensorSpec, TvmExecution, write
from cnnir.runtime.ffi import import_ffi

BATCH, WIDTH, UNITS = 4, 64, 16

# y = relu(x) * w + 1 and its sum over each row, with relu(x) * w in the arena. The entry checks nothing itself:
# what the runtime passes must be right.
NETWORK = f"""
@I.ir_module
class Module:
 @T.prim_func(private=True, s_tir=True)
 def scale(lo: T.int32, hi: T.int32, x_: T.handle('float32'), w_: T.handle('float32'), a_: T.handle('float32')):
  T.func_attr({{'tirx.noalias': True}})
  x = T.decl_buffer(({BATCH * WIDTH},), 'float32', data=x_)
  w = T.decl_buffer(({WIDTH},), 'float32', data=w_)
  a = T.decl_buffer(({BATCH * WIDTH},), 'float32', data=a_)
  for u in T.serial(hi - lo):
   a[T.ramp((lo+u)*16,1,16)] = T.max(x[T.ramp((lo+u)*16,1,16)], T.broadcast(T.float32(0),16)) \\
    * w[T.ramp((lo+u)%4*16,1,16)]
 @T.prim_func(private=True, s_tir=True)
 def sums(lo: T.int32, hi: T.int32, a_: T.handle('float32'), y_: T.handle('float32'), s_: T.handle('float32')):
  T.func_attr({{'tirx.noalias': True}})
  a = T.decl_buffer(({BATCH * WIDTH},), 'float32', data=a_)
  y = T.decl_buffer(({BATCH * WIDTH},), 'float32', data=y_)
  s = T.decl_buffer(({BATCH},), 'float32', data=s_)
  for n in T.serial(hi - lo):
   s[lo+n] = T.float32(0)
   for i in T.serial({WIDTH}):
    y[(lo+n)*{WIDTH}+i] = a[(lo+n)*{WIDTH}+i] + T.float32(1)
    s[lo+n] = s[lo+n] + y[(lo+n)*{WIDTH}+i]
 @T.prim_func(s_tir=True)
 def cnnir_main(X: T.Buffer(({BATCH}, {WIDTH}), 'float32'), W: T.Buffer(({WIDTH},), 'float32'),
                A: T.Buffer(({BATCH * WIDTH},), 'float32'), Y: T.Buffer(({BATCH}, {WIDTH}), 'float32'),
                S: T.Buffer(({BATCH},), 'float32'), threads: T.int32):
  T.func_attr({{'global_symbol': 'cnnir_main', 'tirx.noalias': True}})
  for t in T.parallel(threads):
   Module.scale(t*{UNITS}//threads, (t+1)*{UNITS}//threads, T.address_of(X[0,0]), T.address_of(W[0]),
                T.address_of(A[0]))
  for t in T.parallel(threads):
   Module.sums(t*{BATCH}//threads, (t+1)*{BATCH}//threads, T.address_of(A[0]), T.address_of(Y[0,0]),
               T.address_of(S[0]))
"""

# Writes the system's thread id of whoever runs each part of a parallel region.
WHO = """
@I.ir_module
class Module:
 @T.prim_func(private=True, s_tir=True)
 def who(lo: T.int32, hi: T.int32, y_: T.handle('int32')):
  T.func_attr({'tirx.noalias': True})
  y = T.decl_buffer((8,), 'int32', data=y_)
  for u in T.serial(hi - lo):
   y[lo+u] = T.call_extern('int32', 'gettid')
 @T.prim_func(s_tir=True)
 def cnnir_main(W: T.Buffer((1,), 'float32'), A: T.Buffer((16,), 'float32'), Y: T.Buffer((8,), 'int32'),
                threads: T.int32):
  T.func_attr({'global_symbol': 'cnnir_main', 'tirx.noalias': True})
  for t in T.parallel(threads):
   Module.who(t*8//threads, (t+1)*8//threads, T.address_of(Y[0]))
"""


def compile_library(source: str) -> bytes:
    import_ffi()  # before tvm, which would bring torch in
    from cnnir.backends.tvm.build import CodegenTarget, build_module
    from cnnir.backends.tvm.link import link

    return link(build_module(textwrap.dedent(source), CodegenTarget("x86-64-v3")))


@pytest.fixture(scope="session")
def network_library() -> bytes:
    return compile_library(NETWORK)


@pytest.fixture(scope="session")
def weights() -> np.ndarray:
    return np.random.default_rng(3).standard_normal(WIDTH).astype(np.float32)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, network_library: bytes, weights: np.ndarray) -> Path:
    """The artifact of `NETWORK`, compiled for a batch of 4."""
    path = tmp_path_factory.mktemp("runtime") / "network.cnnmod"
    manifest = Manifest(
        model="network",
        inputs=(TensorSpec("x", "float32", (BATCH, WIDTH)),),
        outputs=(TensorSpec("y", "float32", (BATCH, WIDTH)), TensorSpec("sum", "float32", (BATCH,))),
        execution=TvmExecution("lib.so", "weights.bin", 4 * BATCH * WIDTH),
        target="x86-avx2",
        batch=BATCH,
        cpu_features=("avx2", "fma"),
    )
    write(path, manifest, {"lib.so": network_library, "weights.bin": weights})
    return path


@pytest.fixture(scope="session")
def expected(weights: np.ndarray) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The two outputs of `NETWORK` in float64."""

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = np.maximum(x.astype(np.float64), 0) * weights.astype(np.float64) + 1
        return y, y.sum(axis=1)

    return run


@pytest.fixture(scope="session")
def who(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of `WHO`: no input, one output of 8 thread ids."""
    path = tmp_path_factory.mktemp("runtime") / "who.cnnmod"
    outputs: Sequence[TensorSpec] = (TensorSpec("ids", "int32", (8,), batched=False),)
    manifest = Manifest(
        model="who",
        inputs=(),
        outputs=tuple(outputs),
        execution=TvmExecution("lib.so", "weights.bin", 64),
        target="x86-avx2",
    )
    write(path, manifest, {"lib.so": compile_library(WHO), "weights.bin": np.zeros(1, np.float32)})
    return path
