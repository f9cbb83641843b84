"""The file that sets options: where it is looked for, whether it is trusted, what is wrong in it.

Options decide which machines are bought and which files are sent to them. So a file that somebody
else has written, or may write, is refused; see `bigmachine._trust`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._spelling import close_match, did_you_mean
from ..errors import UsageError

logger = logging.getLogger("bigmachine.options")

FILE = "bigmachine.toml"
_ENVIRONMENT = "environment"
_PROFILES = "profiles"

Table = Mapping[str, Any]  # Any: whatever TOML holds


@dataclass(frozen=True, slots=True)
class Setting:
    """A table of options in a file: where it is, and its ``values``."""

    file: OptionFile
    path: tuple[str, ...]  # of the table's names, from the top of the file
    values: Table

    def where(self, key: str) -> str:
        """Say where ``key`` is set: ``"in /p/bigmachine.toml, line 3, [ec2]"``."""
        return f"in {self.file.place((*self.path, key))}, [{'.'.join(self.path)}]"


class OptionFile:
    """A file with options, or the part of a ``pyproject.toml`` that is ours."""

    def __init__(self, path: Path, text: str) -> None:
        import tomllib

        self.path = path
        self._text = text
        self._prefix: tuple[str, ...] = ()
        try:
            self._tables: Table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            problem, _, place = str(exc).partition(" (at ")
            found = re.match(r"line (\d+)", place)  # or "end of document"
            line = found[1] if found else text.rstrip("\n").count("\n") + 1
            hint = "; text is written in quotes" if problem == "Invalid value" else ""
            raise UsageError(f"{path}, line {line}: is not valid TOML: {problem}{hint}") from exc
        if path.name != FILE:
            self._prefix = ("tool", "bigmachine")
            tool = self._table(self._tables, ("tool",))
            self._check_misspelt_tool(tool)
            self._tables = self._table(tool, self._prefix)

    @property
    def is_empty(self) -> bool:
        """Whether it sets nothing."""
        return not self._tables

    def settings(self, system_name: str, *, profile: str | None) -> Iterator[Setting]:
        """Yield the tables of a system, the one of the ``profile`` first.

        Raises `UsageError` if there is no such profile.
        """
        profiles = self._table(self._tables, (*self._prefix, _PROFILES))
        if profile is not None:
            if profile not in profiles:
                raise UsageError(
                    f"no profile {profile!r}{did_you_mean(profile, profiles)} "
                    f"(profiles in {self.path}: {', '.join(profiles) or 'none'})"
                )
            path = (*self._prefix, _PROFILES, profile, system_name)
            yield Setting(self, path, self._table(self._table(profiles, path[:-1]), path))
        path = (*self._prefix, system_name)
        yield Setting(self, path, self._table(self._tables, path))

    def place(self, path: tuple[str, ...]) -> str:
        """Return the file, and the line of a table or key if it is found."""
        ends = range(len(path), 0, -1)  # an inline table is in the line of what it is the value of
        line = next(filter(None, (find_line(self._text, path[:end]) for end in ends)), None)
        return f"{self.path}, line {line}" if line else f"{self.path}"

    def check_tables(self, systems: Iterable[str]) -> None:
        """Raise `UsageError` if a table is misspelt or is no table; unknown ones are logged.

        ``systems`` are the names that a table may have.
        """
        known = sorted({*systems, _ENVIRONMENT})
        self._check_tables(self._tables, self._prefix, [*known, _PROFILES])
        for name in self._table(self._tables, (*self._prefix, _PROFILES)):
            path = (*self._prefix, _PROFILES, name)
            profile = self._table(self._tables[_PROFILES], path)
            self._check_tables(profile, path, known)

    def _check_tables(self, tables: Table, path: tuple[str, ...], known: list[str]) -> None:
        for name, value in tables.items():
            here = (*path, name)
            if not isinstance(value, Mapping):
                raise UsageError(
                    f"{self.place(here)}: {name!r} must be a table, not {value!r}; options are "
                    f"set in the table of their system, such as [{'.'.join((*path, 'local'))}]"
                )
            if name in known:
                continue
            if guess := close_match(name, known):
                raise UsageError(
                    f"{self.place(here)}: no table [{'.'.join(here)}]; did you mean "
                    f"[{'.'.join((*path, guess))}]? (tables: {', '.join(known)})"
                )
            # Colleagues may use a system that is not installed here.
            logger.warning(
                "%s: [%s] is ignored: no system %r is installed (tables: %s)",
                self.place(here),
                ".".join(here),
                name,
                ", ".join(known),
            )

    def _check_misspelt_tool(self, tool: Table) -> None:
        guess = close_match(
            "bigmachine", [name for name in tool if name != "bigmachine"], cutoff=0.9
        )
        if guess and "bigmachine" not in tool:
            raise UsageError(
                f"{self.place(('tool', guess))}: no table [tool.{guess}]; did you mean "
                "[tool.bigmachine]?"
            )

    def _table(self, tables: Table, path: tuple[str, ...]) -> Table:
        """Return the table that the last name of ``path`` has in ``tables``; empty if missing."""
        table = tables.get(path[-1], {})
        if not isinstance(table, Mapping):
            raise UsageError(f"{self.place(path)}: {path[-1]!r} must be a table, not {table!r}")
        return table


def find_option_file() -> OptionFile | None:
    """Read the nearest file with options, in the current folder or above it; None without one.

    The search ends at the user's home folder and where another file system begins. Raises
    `UsageError` if the file is not TOML, or cannot be read or trusted.
    """
    for folder in _search_path():
        path = folder / FILE
        if os.path.isfile(path):
            content, problem = _read(path)
            if problem:
                raise _untrusted(path, problem)
            return OptionFile(path, _decoded(path, content))
        path = folder / "pyproject.toml"
        if os.path.isfile(path) and (file := _project_file(path)):
            return file
    return None


def _project_file(path: Path) -> OptionFile | None:
    content, problem = _read(path)
    if b"bigmachine" not in content:
        return None  # it may be invalid, and that is none of our business
    try:
        file = OptionFile(path, _decoded(path, content))
    except UsageError:
        if problem:
            return None
        raise
    if file.is_empty:
        return None
    if problem:
        raise _untrusted(path, problem)
    return file


def _search_path() -> Iterator[Path]:
    """Yield the current folder and those above it, up to the home folder or a mount point."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return
    home = Path(os.path.realpath(os.path.expanduser("~")))
    try:
        device = here.stat().st_dev
        for folder in (here, *here.parents):
            if folder.stat().st_dev != device:
                return
            yield folder
            if folder == home:
                return
    except OSError:
        return  # a folder that may not be looked at


def _read(path: Path) -> tuple[bytes, str | None]:
    """Return the content of a file, and why it cannot be trusted, or None if it can."""
    from .._trust import read_settings  # late: few users have such a file

    try:
        return read_settings(path)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror or exc}") from exc


def _untrusted(path: Path, problem: str) -> UsageError:
    return UsageError(
        f"{path} is not read, because {problem}. If there is another {FILE} in a folder nearer to "
        "the current one, that is read instead"
    )


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise UsageError(f"{path}, line {line}: is not UTF-8, as TOML must be") from exc


def find_line(text: str, path: tuple[str, ...]) -> int | None:
    """Return the number of the line in a TOML file where a table or key is defined.

    It is None if this is not found: `tomllib` does not say, and values of several lines are not
    told apart from keys.
    """
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if header := re.match(r"\[\[?(.*?)\]\]?\s*(?:#.*)?\Z", line):
            defined = table = _names(header[1])
        elif assignment := re.match(r"((?:[^=\"']|\"[^\"]*\"|'[^']*')+)=", line):
            defined = (*table, *_names(assignment[1]))
        else:
            continue
        if defined[: len(path)] == path:
            return number
    return None


def _names(dotted: str) -> tuple[str, ...]:
    """Return the parts of a dotted key, without their quotes."""
    parts = re.findall(r"\"([^\"]*)\"|'([^']*)'|([^\s.]+)", dotted)
    return tuple("".join(part) for part in parts)
