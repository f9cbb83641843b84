from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.unit.environment.kit import Venv, write_source, write_wheel

MakeWheel = Callable[..., Path]
MakeProject = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder from which `Venv.install` installs distributions, in place of an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def make_wheel(wheels: Path) -> MakeWheel:
    """Return a function that writes a pure wheel with the given files, by path."""

    def make(name: str, version: str = "1.0", /, *, metadata: str = "", **files: str) -> Path:
        return write_wheel(wheels, name, version, files.pop("files", {}), metadata=metadata)

    return make


@pytest.fixture
def venv(tmp_path: Path, wheels: Path) -> Venv:
    return Venv(tmp_path / "venv", wheels)


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Return a function that writes a source folder whose build needs only Python."""

    def make(name: str, /, *, files: Mapping[str, str], version: str = "0.1") -> Path:
        return write_source(tmp_path / name, files, version=version)

    return make


@pytest.fixture
def as_unprivileged_user() -> Iterator[None]:
    """Run the test as an unprivileged user, who cannot read every file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)
