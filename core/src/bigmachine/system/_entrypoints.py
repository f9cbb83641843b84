"""Find and load systems, observers and commands of installed distributions by entry points.

Only the requested one is imported, so a broken distribution does not affect others.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._spelling import close_match
from ..errors import PluginError, UnknownSystemError, UsageError
from ._installation import install_command
from ._options import resolve_options, warn_of_misspelt_variables
from ._system import System

if TYPE_CHECKING:
    import argparse
    from importlib.metadata import Distribution

_logger = logging.getLogger("bigmachine.plugins")

_MAX_VALUE = 60  # characters of a value in a message

SYSTEMS = "bigmachine.systems"
OBSERVERS = "bigmachine.observers"
COMMANDS = "bigmachine.commands"
SYSTEM_VARIABLE = "BIGMACHINE_SYSTEM"
"""Names the system of sessions that name none; ``bigmachine run`` sets it."""
EXTRAS = ("local", "ec2", "gcp", "azure")
"""The extras of the ``bigmachine`` distribution, one for each folder of ``plugins/``: each adds the
system of that name.
"""


def default_system() -> str:
    """Return the name of the system of sessions that name none."""
    return os.environ.get(SYSTEM_VARIABLE) or "local"


def choose_system(
    system: str | System | type[System] | None,
    *,
    profile: str | None = None,
    keywords: Mapping[str, Any] | None = None,  # Any: each system has its own options
    texts: Mapping[str, str] | None = None,
) -> System:
    """Make the system of a session; ``system`` is a name, a class, or a system already made.

    None is `default_system`.
    The other arguments are as for `resolve_options`. Raises what `load_system` and
    `resolve_options` raise.
    """
    if system is None:
        system = default_system()
        if os.environ.get(SYSTEM_VARIABLE):
            try:
                load_system(system)
            except UnknownSystemError as error:
                raise UnknownSystemError(f"{SYSTEM_VARIABLE}: {error}") from None
    if isinstance(system, System):
        if keywords or profile is not None:
            given = ", ".join(map(repr, keywords or ["profile"]))
            raise UsageError(f"system {system.name!r} has its options already: remove {given}")
        return system
    if not isinstance(system, str) and not (
        isinstance(system, type) and issubclass(system, System)
    ):
        raise UsageError(
            "a session needs a system: its name, such as 'local', or a System, not "
            f"{_short(system)}"
        )
    cls = load_system(system) if isinstance(system, str) else system
    name = system if isinstance(system, str) else cls.name
    known = [*EXTRAS, *(entry.name for entry in installed_systems())]
    warn_of_misspelt_variables([name, *known])
    return cls(
        resolve_options(
            cls.Options,
            system_name=name,
            keywords=keywords,
            texts=texts,
            profile=profile,
            other_systems=known,
        )
    )


def load_system(name: str) -> type[System]:
    """Import the system ``name``, and no other.

    Raises `UnknownSystemError` if no installed distribution provides it, and `PluginError`
    if it is broken, or two distributions provide it.
    """
    entries = [entry for entry in installed_systems() if entry.name == name]
    if not entries:  # it may have been installed a moment ago, from a notebook
        _scan.cache_clear()
        entries = [entry for entry in installed_systems() if entry.name == name]
    if not entries:
        raise UnknownSystemError(_unknown(name, [entry.name for entry in installed_systems()]))
    if len(entries) > 1:
        raise PluginError(
            f"system {name!r} is provided by {' and by '.join(map(str, entries))}: uninstall one"
        )
    return load_entry(entries[0])


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry point of a distribution; ``value`` is ``"module:name"`` of its object."""

    group: str
    name: str
    dist: str
    version: str
    value: str

    def __str__(self) -> str:
        return f"{self.dist} {self.version}"


def installed_systems() -> list[Entry]:
    """List the systems that installed distributions provide, without importing any."""
    return sorted((e for e in _installed() if e.group == SYSTEMS), key=lambda e: e.name)


def load_entry(entry: Entry) -> type[System]:
    """Import one of the `installed_systems`; `PluginError` if it is broken."""
    cls = _import(entry)
    if not (isinstance(cls, type) and issubclass(cls, System)):
        raise PluginError(
            f"system {entry.name!r} of {entry} is broken: "
            f"{entry.value} is not a subclass of bigmachine.system.System"
        )
    return cls


def installed_commands() -> list[Entry]:
    """List the subcommands of ``bigmachine`` that installed distributions add, importing none."""
    return sorted((e for e in _installed() if e.group == COMMANDS), key=lambda e: e.name)


def load_command(entry: Entry) -> Callable[[argparse.ArgumentParser], object]:
    """Import one of the `installed_commands`: what adds its arguments to a parser.

    Raises `PluginError` if it is broken.
    """
    add = _import(entry)
    if not callable(add):
        raise PluginError(
            f"command {entry.name!r} of {entry} is broken: {entry.value} is not a function"
        )
    return add


def load_observers() -> dict[str, object]:
    """Import the installed observers, by label; one that fails is logged and skipped.

    If an entry point is a class, it is called without arguments; any other object (an
    instance, a module) is the observer itself.
    """
    observers: dict[str, object] = {}
    for entry in _installed():
        if entry.group == OBSERVERS:
            label = f"{entry.name!r} of {entry}"
            try:
                plugin = _import(entry)
                observers[label] = plugin() if isinstance(plugin, type) else plugin
            except Exception:
                _logger.warning("skipping observer %s", label, exc_info=True)
    return observers


def _import(entry: Entry) -> object:
    from importlib.metadata import EntryPoint

    try:
        return EntryPoint(entry.name, entry.value, entry.group).load()
    except (Exception, SystemExit) as exc:  # some modules exit if a dependency is missing
        raise PluginError(
            f"{entry.group.removeprefix('bigmachine.').removesuffix('s')} {entry.name!r} of "
            f"{entry} cannot be imported: {type(exc).__name__}: {exc}"
        ) from exc


def _installed() -> tuple[Entry, ...]:
    # Python ignores what is not text.
    return _scan(tuple(entry for entry in sys.path if isinstance(entry, str)))


@functools.lru_cache(maxsize=1)  # a scan reads a file of each distribution
def _scan(path: tuple[str, ...]) -> tuple[Entry, ...]:
    from importlib.metadata import distributions

    # The first on the path wins, as with imports: a distribution may be there twice.
    found: dict[str, list[Entry]] = {}
    for dist in distributions(path=list(path)):
        try:
            # One malformed file would make `entry_points()` fail for all distributions.
            if "bigmachine." in (dist.read_text("entry_points.txt") or ""):
                name = str(dist.metadata["Name"])
                found.setdefault(name.lower().replace("_", "-"), list(_entries(name, dist)))
        except Exception:
            where = getattr(dist, "_path", dist)  # private, so it may not exist
            _logger.warning("cannot read the metadata in %s", where, exc_info=True)
    return tuple(entry for entries in found.values() for entry in entries)


def _entries(name: str, dist: Distribution) -> Iterable[Entry]:
    for point in dist.entry_points:
        if point.group in (SYSTEMS, OBSERVERS, COMMANDS):
            yield Entry(point.group, point.name, name, dist.version, point.value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < _MAX_VALUE else f"a {type(value).__name__}"


def _unknown(name: str, installed: Iterable[str]) -> str:
    installed = sorted(set(installed))
    listed = f"(installed: {', '.join(installed) or 'none'})"
    guess = name if name in EXTRAS else close_match(name, [*installed, *EXTRAS])
    hint = f"; did you mean {guess!r}?" if guess and guess != name else ""
    addable = [guess] if guess else EXTRAS
    return f"no system {name!r} is installed{hint} {listed}" + "".join(
        f"\nTo add {x!r}: {install_command(x)}" for x in addable if x not in installed
    )
