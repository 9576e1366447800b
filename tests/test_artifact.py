"""The file format: deterministic, aligned, complete or absent, and every damage told in one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir import artifact as artifact_module
from cnnir.artifact import (
    Artifact,
    Manifest,
    OnnxExecution,
    PipelineStep,
    TensorSpec,
    TvmExecution,
    host_cpu_features,
    write,
)
from cnnir.errors import CnnirError
from cnnir.manifest import ManifestError

MANIFEST = Manifest(
    model="tiny",
    inputs=(TensorSpec("x", "float32", (2, 3, 8, 8)),),
    outputs=(TensorSpec("y", "float32", (2, 10)), TensorSpec("scale", "float32", (1,), batched=False)),
    execution=TvmExecution("lib.so", "weights.bin", 256),
    target="x86-avx2",
    batch=2,
    pipeline=(PipelineStep("fold-batch-norm"), PipelineStep("svd-conv", "rank=4", "approximate")),
    preprocessing={"mean": [0.5, 0.25, 0.125], "size": 224},
    labels=("Eisbär", "'quoted'", "白熊"),
    weights_from="random, seed 0",
    validation={"max_error": 1.5e-6, "passed": True},
)
MEMBERS = {
    "lib.so": b"\x7fELF" + bytes(range(256)) * 3,
    "weights.bin": np.arange(1500, dtype=np.float32),
    "extra/table.bin": np.arange(6, dtype=np.int16).reshape(2, 3),
    "empty.txt": b"",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cnnmod"
    write(path, MANIFEST, MEMBERS)
    return path


def message(path: Path) -> str:
    with pytest.raises(CnnirError) as caught:
        Artifact.open(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip(path: Path) -> None:
    opened = Artifact.open(path)
    assert replace(opened.manifest, members={}) == MANIFEST
    assert Manifest.from_json(json.loads(json.dumps(opened.manifest.to_json()))) == opened.manifest
    for name, data in MEMBERS.items():
        member = opened.member(name)
        if not len(data):
            assert member.shape == (0,)
            continue
        wanted = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        assert member.dtype == wanted.dtype and member.shape == wanted.shape
        np.testing.assert_array_equal(member, wanted)
        assert member.ctypes.data % 4096 == 0
        assert not member.flags.writeable


def test_members_are_mapped_from_the_file(path: Path) -> None:
    weights = Artifact.open(path).member("weights.bin")
    lines = Path("/proc/self/maps").read_text().splitlines() if sys.platform == "linux" else []
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines if line.endswith(path.name)]
    assert not lines or any(begin <= weights.ctypes.data < end for begin, end in ranges)


def test_other_tools_can_read_it(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        manifest = json.loads(archive.read("manifest.json"))
        for name, entry in manifest["members"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == entry["sha256"]
    assert manifest["execution"]["kind"] == "tvm-x86"
    assert manifest["labels"] == ["Eisbär", "'quoted'", "白熊"]


def test_the_same_input_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    reordered = dict(reversed(MEMBERS.items()))
    write(tmp_path / "again.cnnmod", MANIFEST, reordered)
    assert (tmp_path / "again.cnnmod").read_bytes() == path.read_bytes()


def test_byte_order_and_strides_do_not_show(tmp_path: Path) -> None:
    weights = np.arange(1500, dtype=np.float32)
    strided = np.repeat(weights, 2).astype(">f4")[::2]
    members = {"lib.so": b"x", "weights.bin": strided}
    write(tmp_path / "a.cnnmod", MANIFEST, members)
    write(tmp_path / "b.cnnmod", MANIFEST, {**members, "weights.bin": weights})
    assert (tmp_path / "a.cnnmod").read_bytes() == (tmp_path / "b.cnnmod").read_bytes()


def test_large_members_keep_their_alignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 4000)  # as if every member were larger than 2 GiB
    path = tmp_path / "large.cnnmod"
    write(path, MANIFEST, MEMBERS)
    assert b"\x01\x00\x10\x00" in path.read_bytes()  # the 64-bit extra field is in use
    np.testing.assert_array_equal(Artifact.open(path).member("weights.bin"), MEMBERS["weights.bin"])


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "x.cnnmod"
    old = os.umask(0o027)
    try:
        write(path, MANIFEST, MEMBERS)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


# What is wrong with the file.


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    sound = bytearray(path.read_bytes())
    places = random.Random(7).sample(range(len(sound)), 200)
    # And each kind of place: headers, manifest, every member, directory, end record, seal.
    places += [0, 10, 28, 5000, *range(4096, len(sound), 1021), len(sound) - 1, len(sound) - 64, len(sound) - 80]
    for place in places:
        flipped = bytearray(sound)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            Artifact.open(path)
        except CnnirError:
            continue
        pytest.fail(f"a bit flipped in byte {place} went unnoticed")


@pytest.mark.parametrize("name", ["lib.so", "weights.bin", "extra/table.bin"])
def test_the_damaged_member_is_named(path: Path, name: str) -> None:
    content = MEMBERS[name]
    content = content if isinstance(content, bytes) else content.tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(content) + 5] ^= 4
    path.write_bytes(data)
    assert message(path) == (
        f"'{path}' is damaged: the member '{name}' differs from its sha256. Copy or compile it again."
    )


@pytest.mark.parametrize("size", [1, 30, 4096, 9000, -1, -100, -300, -5000])
def test_truncated(path: Path, size: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:size])
    assert any(word in message(path) for word in ("truncated", "damaged", "not a zip file"))
    if size >= 4 or size < -22 - 77:
        assert "is truncated: its end is missing" in message(path)


def test_no_artifact(path: Path, tmp_path: Path) -> None:
    assert message(tmp_path / "absent.cnnmod") == f"There is no file '{tmp_path / 'absent.cnnmod'}'."
    assert "is a folder" in message(tmp_path)
    path.write_bytes(b"")
    assert "is empty" in message(path)
    path.write_bytes(b"\x08\x07\x12\x05torch" * 100)
    assert message(path) == f"'{path}' is no artifact: it is not a zip file."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    assert message(path) == f"'{path}' is a zip file, but no cnnir artifact."


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    if not Path("/dev/null").exists():
        pytest.skip("there is no device file here")
    assert "is not a regular file" in message(Path("/dev/null"))


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest and seals the file again: what another program might write."""
    value: dict[str, Any] = dict(Artifact.open(path, check_cpu=False).manifest.to_json())
    change(value)

    # `write` stores what the manifest prints; this one prints something else.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Manifest, "dumps", lambda self: json.dumps(value).encode())
        write(path, MANIFEST, MEMBERS)


def test_another_format_version(path: Path) -> None:
    rewrite(path, lambda value: value.update(format_version="2.0", surprise=1))
    assert "The artifact has format version 2.0, expected 1.x." in message(path)


def test_a_newer_minor_version_may_add_fields(path: Path) -> None:
    rewrite(path, lambda value: value.update(format_version="1.7", surprise=1))
    assert Artifact.open(path).manifest.format_version == (1, 7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(surprise=1), "Unknown fields at 'manifest': 'surprise'."),
        (lambda v: v.pop("model"), "The field 'model' is missing at 'manifest'."),
        (lambda v: v.update(batch="2"), "Expected an integer at 'manifest.batch', got a string."),
        (lambda v: v.update(batch=True), "Expected an integer at 'manifest.batch', got true or false."),
        (lambda v: v.update(batch=0), "Expected an integer of at least 1 at 'manifest.batch', got 0."),
        (lambda v: v.update(batch=3), "Expected batch 3 on axis 0 of 'x', got shape [2, 3, 8, 8]."),
        (lambda v: v.update(labels="abc"), "Expected a list at 'manifest.labels', got a string."),
        (lambda v: v["inputs"][0].update(dtype="float33"), "Unknown element type 'float33'"),
        (lambda v: v["inputs"][0].update(shape=[2, -3]), "Expected an integer of at least 0"),
        (lambda v: v["execution"].update(kind="tvm-gpu"), "Unknown kind of execution 'tvm-gpu'"),
        (lambda v: v["execution"].update(library="../lib.so"), "'../lib.so' at 'manifest.execution.library'"),
        (lambda v: v["execution"].update(arena_bytes=6), "whole float32 elements, got 6 bytes"),
        (lambda v: v["members"].pop("lib.so"), "its members are not those of the manifest"),
        (lambda v: v["members"]["weights.bin"].update(shape=[7]), "'weights.bin' does not fit its place"),
        (lambda v: v.update(format_version="one"), "'one' is no format version"),
    ],
)
def test_a_manifest_that_does_not_follow_the_format(
    path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    rewrite(path, change)
    assert words in message(path)


def test_a_manifest_that_is_not_json() -> None:
    with pytest.raises(ManifestError, match="not JSON"):
        Manifest.loads(b"\xff{")
    with pytest.raises(ManifestError, match="not JSON"):
        Manifest.loads(b"[" * 100_000)
    with pytest.raises(ManifestError, match="Expected an object at 'manifest', got a list"):
        Manifest.loads(b"[]")


@pytest.mark.skipif(not host_cpu_features(), reason="this system does not tell the features of its processor")
def test_another_processor(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = sorted(host_cpu_features() or ())
    write(path, replace(MANIFEST, cpu_features=tuple(present[:3])), MEMBERS)
    Artifact.open(path)
    write(path, replace(MANIFEST, cpu_features=(present[0], "avx9", "amx_fp64")), MEMBERS)
    assert "was compiled for a processor with 'avx9', 'amx_fp64', which this one" in message(path)
    assert Artifact.open(path, check_cpu=False).manifest.cpu_features[1] == "avx9"
    monkeypatch.setattr(artifact_module, "host_cpu_features", lambda: None)
    Artifact.open(path)


# Writing whole or not at all.


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "x.cnnmod"
    with pytest.raises(CnnirError) as caught:
        write(path, MANIFEST, MEMBERS)
    assert str(caught.value) == f"No space is left on the disk to write '{path}'. No file was written."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_write_that_stops_half_way_keeps_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    script = f"""
import resource, signal, sys
import numpy as np
from cnnir.artifact import Artifact, write
from cnnir.errors import CnnirError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
manifest = Artifact.open({str(path)!r}).manifest
try:
    write({str(path)!r}, manifest, {{"lib.so": b"x", "weights.bin": np.zeros(100_000, np.float32)}})
except CnnirError as error:
    sys.stdout.write(str(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"'{path}' would be larger than the file size limit. No file was written."
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.cnnmod"
    with pytest.raises(CnnirError, match=f"cannot be written: the folder '{path.parent}' does not exist"):
        write(path, MANIFEST, MEMBERS)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.cnnmod", MANIFEST, MEMBERS)
    assert list(tmp_path.iterdir()) == []


def test_members_that_cannot_be() -> None:
    for members in ({"lib.so": b""}, {**MEMBERS, "../x": b""}, {**MEMBERS, "manifest.json": b""}):
        with pytest.raises(ValueError, match="member"):
            write("nowhere.cnnmod", MANIFEST, members)
    onnx = replace(MANIFEST, execution=OnnxExecution())
    with pytest.raises(ValueError, match=r"model\.onnx"):
        write("nowhere.cnnmod", onnx, MEMBERS)
