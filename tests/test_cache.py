"""The compile cache: shared, killed, torn, full, unwritable."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnnir.cache import Cache, default_cache_root


def entries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.suffix != ".tmp"]


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a" / "b")
    assert cache.get("key") is None
    cache.put("key", b"value")
    cache.put("../other key/\0\n", b"")
    assert cache.get("key") == b"value"
    assert Cache(tmp_path / "a" / "b").get("../other key/\0\n") == b""
    cache.put("key", b"new")
    assert cache.get("key") == b"new"
    assert len(entries(tmp_path)) == 2
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "longer", "header"])
def test_what_is_damaged_is_ignored_and_rewritten(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.put("key", bytes(range(256)))
    (path,) = entries(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-3] ^= 1
    elif damage == "header":
        data[20] ^= 1
    else:
        data = {"torn": data[:-100], "empty": data[:0], "longer": data + b"x"}[damage]
    path.write_bytes(data)
    assert cache.get("key") is None
    assert entries(tmp_path) == []
    cache.put("key", b"again")
    assert cache.get("key") == b"again"


WRITER = """
import sys
from pathlib import Path
from cnnir.cache import Cache
cache, letter = Cache(Path(sys.argv[1])), sys.argv[2].encode()
print("ready", flush=True)
for i in range(int(sys.argv[3])):
    cache.put("shared key", letter * (200_000 + i % 7))
"""


def writer(root: Path, letter: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), letter, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def whole(value: bytes | None) -> bool:
    """Whether the value is one that a writer wrote: one letter, of one of its lengths."""
    return value is not None and len(set(value)) == 1 and 200_000 <= len(value) <= 200_006


def test_a_writer_that_is_killed_leaves_what_can_be_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for round_ in range(6):
        process = writer(tmp_path, "a", 10**9)
        time.sleep(0.03 + 0.011 * round_)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        value = cache.get("shared key")
        assert value is None or whole(value)
        cache.put("shared key", b"b" * 200_000)
        assert cache.get("shared key") == b"b" * 200_000


def test_two_processes_write_one_key(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    processes = [writer(tmp_path, letter, 300) for letter in "ab"]
    seen = 0
    while any(process.poll() is None for process in processes):
        value = cache.get("shared key")
        assert value is None or whole(value)
        seen += value is not None
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert seen > 0
    assert whole(cache.get("shared key"))
    assert len(entries(tmp_path)) == 1 and list(tmp_path.rglob("*.tmp")) == []


def test_the_least_recently_used_entries_go(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=10_000)
    for i in range(9):
        cache.put(f"key {i}", bytes(1000))
        for path in entries(tmp_path):  # as if each were written a minute after the last
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 60 * 10**9))
    assert cache.get("key 0") is not None  # now the most recent
    cache.put("key 9", bytes(1000))
    kept = [i for i in range(10) if cache.get(f"key {i}") is not None]
    assert kept == [0, 3, 4, 5, 6, 7, 8, 9]  # 8 entries of 1046 bytes fit into 90% of the bound
    for i in range(50):
        cache.put(f"more {i}", bytes(1000))
        assert sum(path.stat().st_size for path in entries(tmp_path)) <= 10_000


def test_old_temporary_files_go_and_young_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    old, young = tmp_path / "v1" / ".a.tmp", tmp_path / "v1" / ".b.tmp"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    Cache(tmp_path).put("key", b"value")
    assert not old.exists() and young.exists()


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    for _ in range(2):
        cache.put("key", b"value")
        assert cache.get("key") is None
    captured = capsys.readouterr()
    assert captured.out == ""
    where = tmp_path / "file" / "cache"
    assert (
        captured.err
        == f"cnnir: warning: the compile cache '{where}' cannot be written (not a directory); going on.\n"
    )


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CNNIR_CACHE_DIR", str(tmp_path / "named"))
    assert default_cache_root() == tmp_path / "named"
    Cache().put("key", b"value")
    assert len(entries(tmp_path / "named")) == 1
    monkeypatch.delenv("CNNIR_CACHE_DIR")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_cache_root() == tmp_path / "cnnir"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
        monkeypatch.setenv("HOME", str(tmp_path))
        assert default_cache_root() == tmp_path / ".cache" / "cnnir"


def test_no_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none() -> Path:
        raise RuntimeError

    for name in ("CNNIR_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", staticmethod(none))
    cache = Cache()
    cache.put("key", b"value")
    assert cache.get("key") is None
    assert "this user has no home folder" in capsys.readouterr().err
