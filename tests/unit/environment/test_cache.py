from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.environment._cache import Cache
from bigmachine.errors import UsageError


def writer(text: str):
    return lambda folder: (folder / "file").write_text(text)


def fail_to_write(folder: Path) -> None:
    raise AssertionError("created again")


def test_file_is_created_once_and_kept_in_cache_folder_of_user(cache):
    file = Cache().file("key", writer("text"))
    assert file.read_text() == "text"
    assert Cache().file("key", fail_to_write) == file
    assert file.is_relative_to(cache / "bigmachine")


def test_failed_creation_leaves_no_files(tmp_path):
    with pytest.raises(AssertionError):
        Cache(tmp_path).file("key", fail_to_write)
    assert [*tmp_path.iterdir()] == []


def test_two_concurrent_writers_of_same_key_both_succeed(tmp_path):
    def make(folder: Path) -> None:
        writer("text")(folder)
        Cache(tmp_path).file("key", writer("text"))  # another process was faster

    assert Cache(tmp_path).file("key", make).read_text() == "text"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_processes_may_share_cache(tmp_path):
    source = """if True:
        import sys
        from pathlib import Path
        from bigmachine.environment._cache import Cache
        for key in map(str, range(50)):
            file = Cache(Path(sys.argv[1])).file(key, lambda f: (f / "file").write_text("x" * 9999))
            assert len(file.read_text()) == 9999
    """
    command = [sys.executable, "-c", source, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len([*tmp_path.iterdir()]) == 50


def test_least_recently_used_file_is_removed_first(tmp_path):
    for age, key in enumerate(["young", "middle", "old", "oldest"]):
        Cache(tmp_path).file(key, writer("x" * 10))
        os.utime(tmp_path / key, (1000 - age, 1000 - age))
    cache = Cache(tmp_path, limit_bytes=35)
    cache.file("oldest", fail_to_write)  # most recently used
    cache.file("new", writer("x" * 10))
    assert {entry.name for entry in tmp_path.iterdir()} == {"young", "oldest", "new"}


def test_recently_used_files_are_kept_beyond_limit(tmp_path):
    cache = Cache(tmp_path, limit_bytes=25)
    for key in "abcde":
        cache.file(key, writer("x" * 10))
    assert len([*tmp_path.iterdir()]) == 5


def test_error_for_unwritable_folder_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="set XDG_CACHE_HOME"):
        Cache(tmp_path / "file" / "folder").file("key", writer("text"))


def test_error_without_home_folder_says_what_to_set(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(UsageError, match="no home folder .* set XDG_CACHE_HOME"):
        Cache()
