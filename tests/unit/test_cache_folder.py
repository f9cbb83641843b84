"""A user's caches and reports are in one folder, and nowhere if the user has no home."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigmachine._cache_folder import cache_folder
from bigmachine.reaper._log import ReaperLog, reaper_logs
from bigmachine_gcp.catalog._price_cache import default_file


def test_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "bigmachine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "bigmachine"


def test_without_home_nothing_is_written_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(OSError, match="no home folder"):
        cache_folder()
    ReaperLog("main").note("it is jammed")
    ReaperLog("main").forget()
    assert reaper_logs() == []
    assert default_file() is None
    assert [*tmp_path.iterdir()] == []
