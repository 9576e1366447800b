"""Running artifacts: results against NumPy, batches, buffers, and what a user may get wrong."""

from __future__ import annotations

import gc
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cnnir import runtime
from cnnir.artifact import Artifact, Manifest, TensorSpec, TvmExecution, write
from cnnir.errors import CnnirError
from cnnir.runtime.memory import aligned_empty, huge_empty, is_direct

Reference = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

# One product and one sum of float32 after the other, then 64 of them added: u = 2^-24 an operation, and the
# largest |y| of the inputs below is under 16.
BOUND = 2.0**-24 * 16 * 4
SUM_BOUND = 2.0**-24 * 64 * 64 * 16


def images(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 64)).astype(np.float32)


def agrees(results: dict[str, np.ndarray], x: np.ndarray, expected: Reference) -> None:
    y, total = expected(x)
    assert list(results) == ["y", "sum"]
    assert results["y"].shape == y.shape and results["sum"].shape == total.shape
    assert results["y"].dtype == results["sum"].dtype == np.float32
    np.testing.assert_allclose(results["y"], y, rtol=0, atol=BOUND)
    np.testing.assert_allclose(results["sum"], total, rtol=0, atol=SUM_BOUND)


@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("batch", [4, 1, 3, 5, 8, 11, 0])
def test_every_batch_agrees_with_numpy(network: Path, expected: Reference, batch: int, threads: int | None) -> None:
    module = runtime.load(network, threads=threads)
    x = images(batch)
    agrees(module(x), x, expected)
    agrees(module(x=x), x, expected)


def test_padding_does_not_leak_from_an_earlier_call(network: Path, expected: Reference) -> None:
    module = runtime.load(network)
    module(np.full((7, 64), np.nan, np.float32))
    x = images(6)
    agrees(module(x), x, expected)


def test_results_of_two_calls_are_apart(network: Path, expected: Reference) -> None:
    module = runtime.load(network)
    x, z = images(4, 1), images(4, 2)
    first = module(x)
    second = module(z)
    agrees(first, x, expected)
    agrees(second, z, expected)


def test_arrays_that_generated_code_cannot_use_are_copied(network: Path, expected: Reference) -> None:
    module = runtime.load(network)
    x = images(4)
    memory = aligned_empty((4 * 64 + 1,), np.float32)
    unaligned = memory[1:].reshape(4, 64)
    unaligned[:] = x
    assert not is_direct(unaligned)
    readonly = aligned_empty((4, 64), np.float32)
    readonly[:] = x
    readonly.flags.writeable = False
    transposed = np.asfortranarray(x)
    for array in (unaligned, readonly, transposed, x[::-1][::-1]):
        agrees(module(array), x, expected)
        np.testing.assert_array_equal(array, x)


def test_run_into_writes_where_it_is_told(network: Path, expected: Reference) -> None:
    module = runtime.load(network)
    for batch in (4, 8, 6):
        x = images(batch)
        for offset in (0, 1):  # aligned and not
            memory = np.full(offset + batch * 64 + 1, 7, np.float32)
            y = memory[offset:-1].reshape(batch, 64)
            total = np.empty(batch, np.float32)
            module.run_into([x], {"sum": total, "y": y})
            agrees({"y": y, "sum": total}, x, expected)
            assert memory[-1] == 7 and (memory[:offset] == 7).all()


def test_run_into_allocates_nothing(network: Path) -> None:
    module = runtime.load(network)
    x = aligned_empty((4, 64), np.float32)
    x[:] = 1
    outputs = {"y": aligned_empty((4, 64), np.float32), "sum": aligned_empty((4,), np.float32)}
    tracemalloc.start()
    try:
        for _ in range(50):
            module.run_into([x], outputs)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        module.run_into([x], outputs)
        _, with_outputs = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        module(x)
        _, with_new_ones = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    arrays = sum(array.nbytes for array in outputs.values())
    assert with_new_ones - with_outputs >= arrays  # the measure sees arrays
    assert with_outputs - before < 4096  # small Python objects


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x: m(), "Expected 1 input ('x') for 'network', got 0."),
        (lambda m, x: m(x, x), "Expected 1 input ('x') for 'network', got 2."),
        (lambda m, x: m(x, x=x), "The input 'x' is given twice, by position and by name."),
        (lambda m, x: m(X1=x), "'network' has no input 'X1'."),
        (lambda m, x: m(image=x), "The inputs are 'x'."),
        (lambda m, x: m(x.astype(np.float64)), "Expected float32 for the input 'x', got float64."),
        (lambda m, x: m(x.astype(">f4")), "Expected float32 for the input 'x', got >f4."),
        (lambda m, x: m(x[:, :63]), "Expected shape [N, 64] for the input 'x', got [4, 63]."),
        (lambda m, x: m(x[0]), "Expected shape [N, 64] for the input 'x', got [64]."),
        (lambda m, x: m(x[0, 0, ...]), "Expected shape [N, 64] for the input 'x', got []."),
        (lambda m, x: m(x.tolist()), "Expected a NumPy array for the input 'x', got 'list'."),
        (lambda m, x: m.run_into([x], {"y": x}), "The output 'sum' of 'network' is missing."),
        (
            lambda m, x: m.run_into([x], {"y": x.copy(), "sum": np.empty(5, np.float32)}),
            "Expected shape [4] for the output 'sum', got [5].",
        ),
        (
            lambda m, x: m.run_into([x], {"y": x.copy(), "sum": np.empty(4, np.int32)}),
            "Expected float32 for the output 'sum', got int32.",
        ),
        (
            lambda m, x: m.run_into([x], {"y": np.broadcast_to(x, x.shape), "sum": np.empty(4, np.float32)}),
            "The output 'y' is read-only, expected an array to write to.",
        ),
        (
            lambda m, x: m.run_into([x], {"y": x, "sum": x, "summ": x}),
            "'network' has no output 'summ'. Did you mean 'sum'?",
        ),
    ],
)
def test_mistakes(network: Path, call: Callable[[runtime.Module, np.ndarray], object], words: str) -> None:
    with pytest.raises(CnnirError) as caught:
        call(runtime.load(network), images(4))
    assert words in str(caught.value)


def test_inputs_must_have_one_batch(tmp_path: Path, network_library: bytes) -> None:
    specs = (TensorSpec("a", "float32", (1, 2)), TensorSpec("b", "float32", (1, 2)))
    manifest = Manifest(
        model="two", inputs=specs, outputs=(), execution=TvmExecution("lib.so", "w.bin", 64), target="x86"
    )
    write(tmp_path / "two.cnnmod", manifest, {"lib.so": network_library, "w.bin": np.zeros(1, np.float32)})
    module = runtime.load(tmp_path / "two.cnnmod")
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(CnnirError, match="Expected batch 3 for the input 'b' as for the others, got 2"):
        module(x, x[:2])


def test_threads_take_turns(network: Path, expected: Reference) -> None:
    module = runtime.load(network)
    inputs = [images(batch, seed=batch) for batch in range(1, 25)]
    with ThreadPoolExecutor(4) as pool:
        for x, results in zip(inputs, pool.map(module, inputs), strict=True):
            agrees(results, x, expected)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


def test_many_modules_in_one_process(network: Path, expected: Reference) -> None:
    """Libraries are told apart although they come from memory, and go with their modules."""
    gc.collect()
    before = open_files()
    x = images(4)
    for _ in range(20):
        agrees(runtime.load(network)(x), x, expected)
    kept = [runtime.load(network) for _ in range(3)]
    for module in kept:
        agrees(module(x), x, expected)
    del module
    kept.clear()
    gc.collect()
    if sys.platform == "linux":
        assert open_files() == before
        assert "memfd:cnnir" not in Path("/proc/self/maps").read_text()


def test_two_artifacts_do_not_share_code(network: Path, who: Path, expected: Reference) -> None:
    first, second = runtime.load(network), runtime.load(who)
    assert second()["ids"].dtype == np.int32
    agrees(first(images(4)), images(4), expected)


def test_no_file_is_left_behind(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    runtime.load(network)(images(4))
    monkeypatch.delattr(os, "memfd_create", raising=False)  # as on systems that have none
    module = runtime.load(network)
    assert list(tmp_path.iterdir()) == []
    assert module(images(4))["y"].shape == (4, 64)


def test_a_library_without_the_entry_is_a_bug_of_ours(tmp_path: Path, network_library: bytes) -> None:
    manifest = Manifest(
        model="none", inputs=(), outputs=(), execution=TvmExecution("lib.so", "w.bin", 64, "other"), target="x86"
    )
    write(tmp_path / "none.cnnmod", manifest, {"lib.so": network_library, "w.bin": np.zeros(1, np.float32)})
    with pytest.raises(AttributeError, match="other"):
        runtime.load(tmp_path / "none.cnnmod")


def test_weights_are_used_where_they_are_mapped(network: Path, weights: np.ndarray) -> None:
    module = runtime.load(network)
    executor = module._executor
    used = executor._weights  # type: ignore[attr-defined]
    assert not used.flags.owndata and used.ctypes.data % 4096 == 0
    np.testing.assert_array_equal(used, weights)
    assert module.manifest == Artifact.open(network).manifest


def test_huge_memory_is_aligned_and_goes_back() -> None:
    small, large = huge_empty(10), huge_empty(3 << 20)
    assert small.shape == (10,) and small.ctypes.data % 64 == 0
    assert large.shape == (3 << 20,) and large.ctypes.data % (2 << 20) == 0
    large[:] = 1
    assert float(large.sum()) == 3 << 20
    assert aligned_empty((3, 5), np.int8).ctypes.data % 64 == 0


def test_run_from_a_fresh_thread(network: Path, expected: Reference) -> None:
    module = runtime.load(network)
    results: list[dict[str, np.ndarray]] = []
    thread = threading.Thread(target=lambda: results.append(module(images(5))))
    thread.start()
    thread.join()
    agrees(results[0], images(5), expected)
