"""Which package indexes the user has set, for the machines to ask the same ones."""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError

_TRAVEL = ("UV_INDEX_STRATEGY", "UV_PYTHON_INSTALL_MIRROR")
_HERE_ONLY = frozenset({"localhost", "127.0.0.1", "::1", ""})  # of no use to a machine


@dataclass(frozen=True, slots=True)
class Indexes:
    """The URL of the index, None for the public one, and of more to ask; with credentials.

    ``more`` are uv's variables for which of them to take, and where it gets Pythons.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    def variables(self) -> dict[str, str]:
        """Return the variables that make pip and uv ask them; none for what isn't set."""
        urls = {
            "INDEX_URL": self.index_url or "",
            "EXTRA_INDEX_URL": " ".join(self.extra_index_urls),
        }
        of_uv = {"INDEX_URL": "UV_DEFAULT_INDEX", "EXTRA_INDEX_URL": "UV_INDEX"}
        found = {"PIP_" + name: value for name, value in urls.items() if value}
        found |= {of_uv[name]: value for name, value in urls.items() if value}
        return found | dict(self.more)


def configured_indexes() -> Indexes:
    """Return what is set for uv and pip, by variables and in the user's files.

    The first source that names an index counts, and every source's extra ones do.
    Folders, and indexes of this computer's own, are left out.
    """
    index: str | None = None
    extra: dict[str, None] = {}
    for one, more in _sources():
        index = index or one
        extra |= dict.fromkeys(more)
    return Indexes(
        index if index and _is_reachable(index) else None,
        tuple(url for url in extra if _is_reachable(url)),
        tuple((name, os.environ[name]) for name in _TRAVEL if os.environ.get(name)),
    )


def _is_reachable(url: str) -> bool:
    return (urllib.parse.urlsplit(url).hostname or "") not in _HERE_ONLY


def _sources() -> Iterator[tuple[str | None, list[str]]]:
    environ = os.environ
    yield (
        environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL"),
        # `name=url` gives an index a name.
        [_without_name(url) for url in environ.get("UV_INDEX", "").split()]
        + environ.get("UV_EXTRA_INDEX_URL", "").split(),
    )
    yield environ.get("PIP_INDEX_URL"), environ.get("PIP_EXTRA_INDEX_URL", "").split()
    for path in _uv_files():
        yield _of_uv(path)
    for path in _pip_files():
        yield _of_pip(path)


def _without_name(url: str) -> str:
    name, equals, rest = url.partition("=")
    return rest if equals and ":" not in name else url


def _settings_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _uv_files() -> Iterator[Path]:
    for folder in (Path.cwd(), *Path.cwd().parents):
        yield from (folder / "uv.toml", folder / "pyproject.toml")
    yield from (_settings_folder() / "uv" / "uv.toml", Path("/etc/uv/uv.toml"))


def _pip_files() -> Iterator[Path]:
    named = os.environ.get("PIP_CONFIG_FILE")
    if named:
        yield Path(named)
    yield Path(sys.prefix) / "pip.conf"
    yield _settings_folder() / "pip" / "pip.conf"
    yield from (Path.home() / ".pip" / "pip.conf", Path("/etc/pip.conf"))


def _of_uv(path: Path) -> tuple[str | None, list[str]]:
    if not path.is_file():
        return None, []
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))  # Any: TOML
    except (OSError, ValueError) as exc:
        raise _unreadable(path, exc) from exc
    if path.name == "pyproject.toml":
        settings = settings.get("tool", {}).get("uv", {})
    settings = {**settings, **settings.get("pip", {})}
    tables = settings.get("index", [])
    default = [table["url"] for table in tables if table.get("default")]
    extra = [table["url"] for table in tables if not table.get("default")]
    index = default[0] if default else settings.get("index-url")
    return index, extra + list(settings.get("extra-index-url", []))


def _of_pip(path: Path) -> tuple[str | None, list[str]]:
    if not path.is_file():
        return None, []
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, ValueError, configparser.Error) as exc:
        raise _unreadable(path, exc) from exc
    settings = dict(parser["global"]) if "global" in parser else {}
    return settings.get("index-url"), settings.get("extra-index-url", "").split()


def _unreadable(path: Path, exc: Exception) -> UsageError:
    return UsageError(f"{path} may name package indexes, and can't be read: {exc}; mend it")
