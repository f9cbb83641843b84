from __future__ import annotations

import os
import zipfile
from importlib.util import find_spec

import pytest

from bigmachine.environment._build import build, hash_source
from bigmachine.environment._cache import Cache
from bigmachine.environment._distributions import installed
from bigmachine.errors import UsageError
from tests.unit.environment.kit import write_files


@pytest.fixture
def source(venv, make_project, tmp_path, monkeypatch):
    monkeypatch.setenv("BUILD_LOG", str(tmp_path / "log"))
    folder = make_project("app", files={"src/app/__init__.py": "x = 1\n", ".gitignore": "*.tmp\n"})
    venv.install("--editable", folder)
    return folder


def build_installed(venv):
    [distribution] = installed([venv.site])
    return build(distribution, cache=Cache())


def test_editable_distribution_is_sent_as_wheel_of_its_source(venv, source):
    wheel = build_installed(venv).wheel
    assert wheel.name == "app-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        assert opened.read("app/__init__.py") == b"x = 1\n"


def test_wheel_is_rebuilt_only_if_source_has_changed(venv, source, tmp_path):
    log = tmp_path / "log"
    first = build_installed(venv)
    write_files(source, {"x.tmp": "", "build/lib/x.py": "", "app.egg-info/PKG-INFO": ""})
    assert build_installed(venv) == first
    assert log.read_text() == "built\n"
    write_files(source, {"src/app/__init__.py": "x = 2\n"})
    second = build_installed(venv)
    assert second.source_hash != first.source_hash
    assert log.read_text() == "built\n" * 2
    with zipfile.ZipFile(second.wheel) as opened:
        assert opened.read("app/__init__.py") == b"x = 2\n"


def test_version_comes_from_current_source(venv, source):
    write_files(source, {"VERSION": "0.2"})
    assert installed([venv.site])[0].version == "0.1"
    assert build_installed(venv).version == "0.2"


def test_hash_of_source_includes_names_and_modes(source):
    hashes = {hash_source(source)}
    (source / "VERSION").chmod(0o755)
    hashes.add(hash_source(source))
    (source / "VERSION").rename(source / "VERSION2")
    hashes.add(hash_source(source))
    assert len(hashes) == 3


def test_huge_data_in_source_folder_is_not_read(tmp_path):
    folder = write_files(tmp_path / "app", {"pyproject.toml": ""})
    with open(folder / "data.bin", "wb") as file:
        file.truncate(1 << 38)  # reading it would take minutes
    first = hash_source(folder)
    assert hash_source(folder) == first
    os.utime(folder / "data.bin", (0, 0))
    assert hash_source(folder) != first


def test_error_has_last_lines_of_failed_build(venv, source, cache):
    write_files(source, {"backend.py": "raise ValueError('this backend is broken')\n"})
    with pytest.raises(UsageError, match=r"(?s)cannot build a wheel of .*this backend is broken"):
        build_installed(venv)
    assert [*(cache / "bigmachine").rglob("*.whl")] == []


def test_build_without_index_uses_installed_tools(venv, source, monkeypatch):
    text = (source / "pyproject.toml").read_text()
    text = text.replace("requires = []", 'requires = ["no-such-backend"]')
    write_files(source, {"pyproject.toml": text})
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert build_installed(venv).version == "0.1"


def test_error_names_missing_source_folder(venv, source):
    source.rename(source.parent / "elsewhere")
    with pytest.raises(UsageError, match=f"app is installed as editable.*{source} does not exist"):
        build_installed(venv)


@pytest.mark.skipif(
    bool(find_spec("uv") or find_spec("pip")), reason="this Python has uv or pip itself"
)
def test_build_without_uv_and_pip_says_what_to_install(venv, source, monkeypatch):
    [distribution] = installed([venv.site])
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("UV", raising=False)
    with pytest.raises(UsageError, match="neither uv nor pip to build one; pip install uv"):
        build(distribution, cache=Cache())
