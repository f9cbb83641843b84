"""The systems and observers that installed distributions offer, found by name.

Only what is asked for is imported, so a broken sibling breaks nothing.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import PluginError, UnknownSystemError, UsageError
from ..services._names import close_match
from ._options import resolve_options
from ._system import System

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_logger = logging.getLogger("bigmachine.plugins")

SYSTEMS = "bigmachine.systems"
OBSERVERS = "bigmachine.observers"
EXTRAS = ("local", "ec2", "gcp", "azure")
"""The extras of the ``bigmachine`` distribution, each of which adds the system of that name."""


def choose_system(
    system: str | System | type[System],
    *,
    profile: str | None = None,
    keywords: Mapping[str, Any] | None = None,  # Any: each system has options of its own
    texts: Mapping[str, str] | None = None,
) -> System:
    """Make the system a session was asked for: by name, by class, or already made.

    Raises what `load_system` and `resolve_options` do.
    """
    if isinstance(system, System):
        if keywords or profile is not None:
            given = ", ".join(map(repr, keywords or ["profile"]))
            raise UsageError(f"system {system.name!r} is made already: {given} can't be given too")
        return system
    if not isinstance(system, str) and not (
        isinstance(system, type) and issubclass(system, System)
    ):
        raise UsageError(f"a session is on a system, by name or as a System, not on {system!r}")
    cls = load_system(system) if isinstance(system, str) else system
    name = system if isinstance(system, str) else cls.name
    return cls(
        resolve_options(
            cls.Options,
            system_name=name,
            keywords=keywords,
            texts=texts,
            profile=profile,
            other_systems=[entry.name for entry in installed_systems()],
        )
    )


def load_system(name: str) -> type[System]:
    """Import the system called ``name``, and no other.

    Raises `UnknownSystemError` if nothing installed offers it, and `PluginError`
    if what does is broken or two distributions do.
    """
    entries = [entry for entry in installed_systems() if entry.name == name]
    if not entries:  # perhaps it was installed a moment ago, from a notebook
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
    """One entry point: what a distribution calls it, and where its object is."""

    group: str
    name: str
    dist: str
    version: str
    value: str

    def __str__(self) -> str:
        return f"{self.dist} {self.version}"


def installed_systems() -> list[Entry]:
    """List the systems that installed distributions offer, without importing any."""
    return sorted((e for e in _installed() if e.group == SYSTEMS), key=lambda e: e.name)


def install_command(extra: str) -> str:
    """Return the command that adds the system ``extra``."""
    return f'pip install "bigmachine[{extra}]"'


def load_entry(entry: Entry) -> type[System]:
    """Import one of the `installed_systems`; `PluginError` if it's broken."""
    cls = _import(entry)
    if not (isinstance(cls, type) and issubclass(cls, System)):
        raise PluginError(
            f"system {entry.name!r} of {entry} is broken: "
            f"{entry.value} is no subclass of bigmachine.system.System"
        )
    return cls


def load_observers() -> dict[str, object]:
    """Import the installed observers, by label; one that fails is logged and left out.

    An entry point's class is called, without arguments, for an instance of its
    own; anything else (an object, a module) serves as it is.
    """
    observers: dict[str, object] = {}
    for entry in _installed():
        if entry.group == OBSERVERS:
            label = f"{entry.name!r} of {entry}"
            try:
                plugin = _import(entry)
                observers[label] = plugin() if isinstance(plugin, type) else plugin
            except Exception:
                _logger.warning("observer %s is left out", label, exc_info=True)
    return observers


def _import(entry: Entry) -> object:
    from importlib.metadata import EntryPoint

    try:
        return EntryPoint(entry.name, entry.value, entry.group).load()
    except (Exception, SystemExit) as exc:  # some modules exit where a dependency is missing
        raise PluginError(
            f"{entry.group.removeprefix('bigmachine.').removesuffix('s')} {entry.name!r} of "
            f"{entry} can't be imported: {type(exc).__name__}: {exc}"
        ) from exc


def _installed() -> tuple[Entry, ...]:
    return _scan(tuple(sys.path))


@functools.lru_cache(maxsize=1)  # a scan reads a file of each distribution: once is enough
def _scan(path: tuple[str, ...]) -> tuple[Entry, ...]:
    from importlib.metadata import distributions

    # First on the path wins, as with imports: a dist may be there twice, say editable.
    found: dict[str, list[Entry]] = {}
    for dist in distributions(path=list(path)):
        try:
            # `entry_points()` would do, but one malformed file fails it for everybody.
            if "bigmachine." in (dist.read_text("entry_points.txt") or ""):
                name = str(dist.metadata["Name"])
                found.setdefault(name.lower().replace("_", "-"), list(_entries(name, dist)))
        except Exception:
            where = getattr(dist, "_path", dist)  # private, so perhaps not there
            _logger.warning("the metadata in %s can't be read", where, exc_info=True)
    return tuple(entry for entries in found.values() for entry in entries)


def _entries(name: str, dist: Distribution) -> Iterable[Entry]:
    for point in dist.entry_points:
        if point.group in (SYSTEMS, OBSERVERS):
            yield Entry(point.group, point.name, name, dist.version, point.value)


def _unknown(name: str, installed: Iterable[str]) -> str:
    installed = sorted(set(installed))
    guess = name if name in EXTRAS else close_match(name, [*installed, *EXTRAS])
    hint = f"; did you mean {guess!r}?" if guess and guess != name else ""
    addable = [guess] if guess else EXTRAS
    return (
        f"no system {name!r} is installed{hint} (installed: {', '.join(installed) or 'none'})"
        + ("".join(f"\nTo add {x!r}: {install_command(x)}" for x in addable if x not in installed))
    )
