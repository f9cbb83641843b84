"""The package indexes that the user has configured, so that the machines use the same ones."""

from __future__ import annotations

import configparser
import contextlib
import logging
import os
import sys
import tomllib
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._trust import read_settings
from ..errors import UsageError

logger = logging.getLogger("bigmachine.environment")

_UV_VARIABLES = ("UV_INDEX_STRATEGY", "UV_PYTHON_INSTALL_MIRROR")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})  # a machine cannot reach them


@dataclass(frozen=True, slots=True)
class Indexes:
    """The URL of the index (None for the public one) and of extra indexes, with credentials.

    ``more`` are uv's variables, as pairs, for its index strategy and its source of Pythons.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    def variables(self) -> dict[str, str]:
        """Return the environment variables that make pip and uv use them; only those needed."""
        urls = {
            "INDEX_URL": self.index_url or "",
            "EXTRA_INDEX_URL": " ".join(self.extra_index_urls),
        }
        uv_names = {"INDEX_URL": "UV_DEFAULT_INDEX", "EXTRA_INDEX_URL": "UV_INDEX"}
        found = {"PIP_" + name: value for name, value in urls.items() if value}
        found |= {uv_names[name]: value for name, value in urls.items() if value}
        return found | dict(self.more)


def configured_indexes() -> Indexes:
    """Return what is configured for uv and pip, by variables and in the user's files.

    The first source that has an index wins; the extra indexes of all sources are used.
    Folders and indexes on this computer are left out, because machines cannot reach them.
    """
    index: str | None = None
    extra: dict[str, None] = {}
    for source_index, source_extra in _sources():
        index = index or source_index
        extra |= dict.fromkeys(source_extra)
    return Indexes(
        index if index and _is_reachable(index) else None,
        tuple(url for url in extra if _is_reachable(url)),
        tuple((name, os.environ[name]) for name in _UV_VARIABLES if os.environ.get(name)),
    )


def _is_reachable(url: str) -> bool:
    return (urllib.parse.urlsplit(url).hostname or "") not in _LOCAL_HOSTS


def _sources() -> Iterator[tuple[str | None, list[str]]]:
    environ = os.environ
    yield (
        environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL"),
        # The form `name=url` is allowed.
        [_without_name(url) for url in environ.get("UV_INDEX", "").split()]
        + environ.get("UV_EXTRA_INDEX_URL", "").split(),
    )
    yield environ.get("PIP_INDEX_URL"), environ.get("PIP_EXTRA_INDEX_URL", "").split()
    for path in _uv_files():
        yield _read_uv_file(path)
    for path in _pip_files():
        yield _read_pip_file(path)


def _without_name(url: str) -> str:
    name, equals, rest = url.partition("=")
    return rest if equals and ":" not in name else url


def _settings_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))


def _uv_files() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):  # the current folder was deleted
        here = Path.cwd()
        for folder in (here, *here.parents):
            yield from (folder / "uv.toml", folder / "pyproject.toml")
    yield from (_settings_folder() / "uv" / "uv.toml", Path("/etc/uv/uv.toml"))


def _pip_files() -> Iterator[Path]:
    named = os.environ.get("PIP_CONFIG_FILE")
    if named:
        yield Path(named)
    yield Path(sys.prefix) / "pip.conf"
    yield _settings_folder() / "pip" / "pip.conf"
    yield from (Path(os.path.expanduser("~/.pip/pip.conf")), Path("/etc/pip.conf"))


def _read_uv_file(path: Path) -> tuple[str | None, list[str]]:
    if not path.is_file():
        return None, []
    try:
        content, problem = read_settings(path)
        index, extra = _uv_indexes(path, tomllib.loads(content.decode("utf-8")))
    except (OSError, ValueError) as exc:
        raise _unreadable(path, exc) from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise _unreadable(path, ValueError("its settings of uv are not those of uv")) from exc
    if problem and (index or extra):
        # Machines would install, and run, what this index has.
        logger.warning("%s: its package indexes are not used, because %s", path, problem)
        return None, []
    return index, extra


def _uv_indexes(path: Path, settings: dict[str, Any]) -> tuple[str | None, list[str]]:  # Any: TOML
    if path.name == "pyproject.toml":
        settings = settings.get("tool", {}).get("uv", {})
    settings = {**settings, **settings.get("pip", {})}
    tables = settings.get("index", [])
    default = [table["url"] for table in tables if table.get("default")]
    extra = [table["url"] for table in tables if not table.get("default")]
    index = default[0] if default else settings.get("index-url")
    extra += list(settings.get("extra-index-url", []))
    if not all(isinstance(url, str) for url in (index or "", *extra)):
        raise TypeError("a URL is no string")
    return index, extra


def _read_pip_file(path: Path) -> tuple[str | None, list[str]]:
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
    return UsageError(
        f"{path} may configure package indexes, and cannot be read: {exc}; correct it"
    )
