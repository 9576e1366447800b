"""The pool of threads: really parallel, of the size asked for, quiet when idle, safe across fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnir import runtime
from cnnir.errors import CnnirError
from cnnir.runtime import threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="thread ids and processor time as Linux tells them")


def python(script: str, path: Path, **environment: str) -> str:
    """Runs a script in a fresh process and returns what it writes; pools are made once a process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TVM_")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, **environment},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@linux
def test_a_parallel_region_runs_on_as_many_threads_as_told(who: Path) -> None:
    script = """
import sys
from cnnir import runtime
for count in (1, 2, 3):
    module = runtime.load(sys.argv[1], threads=count)
    print(module.threads, len(set(module()["ids"].tolist())))
print(runtime.load(sys.argv[1]).threads)
"""
    assert python(script, who, TVM_NUM_THREADS="3").splitlines() == ["1 1", "2 2", "3 3", "3"]


@linux
def test_the_caller_is_one_of_the_threads_and_is_not_bound(who: Path) -> None:
    script = """
import os, sys, threading
from cnnir import runtime
before = os.sched_getaffinity(0)
ids = set(runtime.load(sys.argv[1])()["ids"].tolist())
print(threading.get_native_id() in ids, len(ids) == len(before), os.sched_getaffinity(0) == before)
"""
    assert python(script, who) == "True True True\n"


@linux
def test_idle_workers_sleep(who: Path) -> None:
    script = """
import sys, time
from cnnir import runtime
module = runtime.load(sys.argv[1])
module()
time.sleep(0.05)
module()
begin = time.process_time()
time.sleep(0.3)
print((time.process_time() - begin) * 1000)
"""
    # TVM's default burns 110 ms of every worker's core here.
    assert float(python(script, who, TVM_NUM_THREADS="2")) < 30


def test_the_environment_of_the_user_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "7")
    monkeypatch.setenv("TVM_THREAD_POOL_SPIN_COUNT", "11")
    monkeypatch.delenv("TVM_BIND_THREADS", raising=False)
    threads.set_pool_defaults()
    assert os.environ["TVM_NUM_THREADS"] == "7"
    assert os.environ["TVM_THREAD_POOL_SPIN_COUNT"] == "11"
    assert os.environ["TVM_BIND_THREADS"] == "0"
    assert threads.choose(None) == 7
    monkeypatch.setenv("TVM_NUM_THREADS", "many")
    assert threads.choose(None) == threads.available_cores()


def test_numbers_of_threads_that_cannot_be(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CnnirError, match="Expected at least 1 thread, got 0"):
        runtime.load(network, threads=0)
    monkeypatch.setenv("TVM_NUM_THREADS", "2")
    with pytest.raises(CnnirError, match=r"Expected at most 2 threads, got 9\..*TVM_NUM_THREADS=9"):
        runtime.load(network, threads=9)


@linux
def test_a_pool_that_was_made_before_is_noticed(who: Path) -> None:
    script = """
import os, sys
from cnnir import runtime
from cnnir.errors import CnnirError
runtime.load(sys.argv[1])()
os.environ["TVM_NUM_THREADS"] = "4"
try:
    runtime.load(sys.argv[1], threads=4)()
except CnnirError as error:
    print(error.message)
"""
    out = python(script, who, TVM_NUM_THREADS="2")
    assert out == "Expected a pool of 4 threads, got 2: something else had started it before.\n"


@linux
def test_fork_before_the_first_call_works_and_after_it_says_so(network: Path) -> None:
    script = """
import os, sys
import numpy as np
from cnnir import runtime
from cnnir.errors import CnnirError
module = runtime.load(sys.argv[1])
x = np.ones((4, 64), np.float32)

def in_child():
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            answer = str(module(x)["y"].shape)
        except CnnirError as error:
            answer = error.message
        os.write(writer, answer.encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reader, 1000).decode()

print(in_child())
module(x)
print(in_child())
"""
    first, second = python(script, network).splitlines()
    assert first == "(4, 64)"
    assert (
        second == "This process was forked from one that had already run a model, so its worker threads are gone."
    )


@linux
def test_memory_beyond_weights_and_arena(network: Path) -> None:
    script = """
import sys
import numpy as np
def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
before = resident()
from cnnir import runtime
module = runtime.load(sys.argv[1])
module(np.ones((4, 64), np.float32))
print(resident() - before)
"""
    # Beyond NumPy and the interpreter; about 20 MB were seen.
    assert float(python(script, network)) < 60


def test_results_do_not_depend_on_threads(network: Path) -> None:
    x = np.random.default_rng(5).standard_normal((13, 64)).astype(np.float32)
    one = runtime.load(network, threads=1)(x)
    many = runtime.load(network)(x)
    for name, array in one.items():
        np.testing.assert_array_equal(array, many[name])
