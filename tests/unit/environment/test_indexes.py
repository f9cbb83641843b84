from __future__ import annotations

import os
from pathlib import Path

import pytest

from bigmachine.environment._indexes import Indexes, configured_indexes
from bigmachine.errors import UsageError
from tests.unit.environment.kit import write_files


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_no_index_is_configured_by_default():
    assert configured_indexes() == Indexes(None, ())


def test_indexes_are_read_from_variables_of_uv_and_pip(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example/ https://b.example/")
    found = ("https://a.example/", "https://b.example/")
    assert configured_indexes() == Indexes("https://pip.example/simple", found)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://user:word@uv.example/simple")
    monkeypatch.setenv("UV_INDEX", "name=https://c.example/?x=y https://d.example/?x=y")
    more = ("https://c.example/?x=y", "https://d.example/?x=y", *found)
    assert configured_indexes() == Indexes("https://user:word@uv.example/simple", more)


def test_indexes_are_read_from_files_of_uv_and_pip(home):
    uv = '[[index]]\nurl = "https://a.example/"\n'
    uv += '[[index]]\nurl = "https://b.example/"\ndefault = true'
    write_files(home, {".config/uv/uv.toml": uv})
    write_files(
        home, {".config/pip/pip.conf": "[global]\nextra-index-url =\n  https://c.example/\n"}
    )
    assert configured_indexes() == Indexes(
        "https://b.example/", ("https://a.example/", "https://c.example/")
    )
    project = '[tool.uv]\nindex-url = "https://d.example/"'
    write_files(Path.cwd(), {"pyproject.toml": project})
    assert configured_indexes().index_url == "https://d.example/"


def test_indexes_that_only_this_computer_reaches_are_skipped(monkeypatch):
    monkeypatch.setenv("UV_INDEX_URL", "http://localhost:3141/simple")
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", "file:///srv/index /srv/index http://[::1]/ http://x/")
    assert configured_indexes() == Indexes(None, ("http://x/",))


def test_error_names_unreadable_file(home):
    write_files(home, {".config/uv/uv.toml": "no toml"})
    with pytest.raises(
        UsageError, match=r"uv\.toml may configure package indexes, and cannot be read"
    ):
        configured_indexes()


@pytest.mark.parametrize(
    "text", ["index-url = 5", "index = [1]", "index = [{default = true}]", "pip = 3"]
)
def test_error_names_file_with_settings_that_are_none(home, text):
    write_files(home, {".config/uv/uv.toml": text})
    with pytest.raises(
        UsageError, match=r"uv\.toml may configure .* are not those of uv; correct it"
    ):
        configured_indexes()


def test_index_in_folder_that_everybody_can_write_is_not_used(tmp_path, caplog):
    file = write_files(tmp_path, {"uv.toml": 'index-url = "https://a.example/simple"'}) / "uv.toml"
    assert configured_indexes().index_url == "https://a.example/simple"
    tmp_path.chmod(0o777)
    assert configured_indexes().index_url is None
    [message] = caplog.messages
    assert message.startswith(f"{file}: its package indexes are not used, because every user can")
    file.write_text("native-tls = true")
    caplog.clear()
    configured_indexes()
    assert caplog.messages == []


def test_deleted_current_folder_has_no_settings(tmp_path):
    (tmp_path / "work").rmdir()
    assert configured_indexes() == Indexes(None, ())
