"""Which files of a local folder are sent: those that git would add, up to a limit."""

from __future__ import annotations

import itertools
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from ._ignore import Patterns
from ._messages import first_of

logger = logging.getLogger("bigmachine.environment")

# Tools generate these for themselves, and again where they are missing.
_GENERATED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", "__pycache__", "node_modules", ".tox", ".nox", ".ipynb_checkpoints"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"}
)
_GENERATED_FILES = (".pyc", ".DS_Store")
# A folder that contains one of these is a virtual environment: Python and distributions.
_ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})

# Scanning this many takes about a second; a home folder with a million would take minutes.
MAX_ENTRIES = 50_000
_MAX_NAMED = 5  # paths in a message


@dataclass(frozen=True, slots=True)
class File:
    """A file of a local folder.

    ``path`` is relative to the folder, with ``/``; ``source`` is where it is read; ``mode``
    is its permissions, reduced to 0o755 if it is executable, else 0o644.
    """

    path: str
    source: Path
    size_bytes: int
    mode: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A local folder that modules are imported from, and its files that are sent."""

    path: Path
    files: tuple[File, ...] = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """The size of its files, in bytes."""
        return sum(file.size_bytes for file in self.files)


def scan(
    folder: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_entries: int = MAX_ENTRIES,
) -> Folder:
    """List the files of ``folder`` that are sent, sorted by path.

    ``include`` and ``exclude`` are patterns in the format of ``.gitignore``, relative to
    ``folder``. A file that ``exclude`` matches is not sent; one that ``include`` matches is
    sent, even if a ``.gitignore`` excludes it. What tools generate (``.git``,
    ``__pycache__``, virtual environments, …) is never sent.

    A symbolic link is replaced by the file it points to. If a link is broken, points outside
    the folder or forms a loop, it is not sent, with a warning; nor are sockets and pipes.

    Raises `UsageError` for what cannot be read, and for more than ``max_entries`` files.
    """
    walk = _Walk(folder, Patterns(include), Patterns(exclude), max_entries)
    files = sorted(walk.files(), key=lambda file: file.path)
    walk.warn()
    return Folder(path=folder, files=tuple(files))


@dataclass(frozen=True, slots=True)
class _Visit:
    """A folder to scan: below one that `include` matches, or that is ignored, or neither."""

    path: str  # relative to the top, "" for itself
    ignores: tuple[Patterns, ...]  # the nearest first
    is_included: bool = False
    is_ignored: bool = False


class _Walk:
    def __init__(
        self, folder: Path, include: Patterns, exclude: Patterns, max_entries: int
    ) -> None:
        self._folder = folder
        self._real = os.path.realpath(folder)
        self._include = include
        self._exclude = exclude
        self._max_entries = max_entries
        self._seen: Counter[str] = Counter()  # entries, by the first part of their path
        self._count = 0
        self._skipped: list[str] = []  # paths, with the reason
        self._prefix, self._outer = _outer_ignores(folder)

    def files(self) -> Iterator[File]:
        visits = [_Visit("", self._outer)]
        while visits:
            visit = visits.pop()
            entries = self._entries(visit.path)
            names = {entry.name for entry in entries}
            if visit.path and names & _ENVIRONMENT_MARKS:
                continue
            ignores = visit.ignores
            if ".gitignore" in names and not (visit.is_included or visit.is_ignored):
                base = (self._prefix + visit.path).rstrip("/")
                own = _read_patterns(self._folder / visit.path / ".gitignore", base=base)
                ignores = (own, *ignores)
            for entry in entries:
                path = f"{visit.path}/{entry.name}" if visit.path else entry.name
                self._seen[path.partition("/")[0]] += 1
                chosen = self._choose(entry, path, visit, ignores)
                if isinstance(chosen, _Visit):
                    visits.append(chosen)
                elif chosen is not None:
                    yield chosen

    def warn(self) -> None:
        if self._skipped:
            paths = first_of(self._skipped, most=_MAX_NAMED, separator="; ")
            logger.warning("%s: not sent: %s", self._folder, paths)

    def _entries(self, path: str) -> list[os.DirEntry[str]]:
        left = self._max_entries - self._count
        try:
            with os.scandir(self._folder / path) as found:
                entries = list(itertools.islice(found, left + 1))
        except OSError as exc:
            raise _unreadable(self._folder / path, exc) from exc
        self._count += len(entries)
        if len(entries) > left:
            self._seen[path.partition("/")[0]] += len(entries)
            raise self._too_many()
        return entries

    def _choose(
        self, entry: os.DirEntry[str], path: str, visit: _Visit, ignores: tuple[Patterns, ...]
    ) -> File | _Visit | None:
        is_link = entry.is_symlink()
        is_folder = entry.is_dir(follow_symlinks=False)  # for git, a link is not a folder
        if entry.name in _GENERATED_FOLDERS and entry.is_dir():
            return None
        if entry.name.endswith(_GENERATED_FILES) and not is_folder:
            return None
        if self._exclude.decide(path, is_folder=is_folder):
            return None
        is_included = visit.is_included or bool(self._include.decide(path, is_folder=is_folder))
        is_ignored = not is_included and (
            visit.is_ignored or _is_ignored(self._prefix + path, ignores, is_folder=is_folder)
        )
        if is_ignored and not (is_folder and self._include.may_match_below(path)):
            return None
        if is_link and not self._may_follow(path):
            return None
        if entry.is_dir():
            return _Visit(path, ignores, is_included, is_ignored)
        return self._file(path)

    def _may_follow(self, path: str) -> bool:
        link = self._folder / path
        target = os.path.realpath(link)
        if not os.path.exists(target):
            self._skipped.append(f"{path} (a broken link)")
        elif not _is_within(target, self._real):
            self._skipped.append(f"{path} (a link that points outside the folder, to {target})")
        elif _is_within(os.path.realpath(link.parent), target):
            self._skipped.append(f"{path} (a link to a folder that contains it)")
        else:
            return True
        return False

    def _file(self, path: str) -> File | None:
        source = self._folder / path
        try:
            status = source.stat()
        except OSError as exc:
            raise _unreadable(source, exc) from exc
        if not stat.S_ISREG(status.st_mode):
            self._skipped.append(f"{path} (not a regular file)")
            return None
        if not os.access(source, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise _unreadable(source, PermissionError("permission denied"))
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        return File(path=path, source=source, size_bytes=status.st_size, mode=mode)

    def _too_many(self) -> UsageError:
        largest = [f"{name or '.'} ({count})" for name, count in self._seen.most_common(_MAX_NAMED)]
        return UsageError(
            f"{self._folder} has more than {self._max_entries} files. It must be sent to the "
            f"machines, because modules are imported from it. Most files seen so far are in "
            f"{', '.join(largest)}. Put the script in its own folder, or exclude folders by a "
            ".gitignore or exclude=[...]"
        )


def _outer_ignores(folder: Path) -> tuple[str, tuple[Patterns, ...]]:
    """Read the ``.gitignore`` files above ``folder``, up to the top of its git work tree.

    Return the prefix that turns a path in ``folder`` into one in the work tree, and the
    patterns. If ``folder`` is ignored itself, they do not apply: a user who runs a script
    there needs its files.
    """
    for top in (folder, *folder.parents):
        if (top / ".git").exists():
            break
    else:
        return "", ()
    relative = folder.relative_to(top)
    ignores: tuple[Patterns, ...] = (_read_patterns(top / ".git" / "info" / "exclude"),)
    place = ""
    for part in relative.parts:
        ignores = (_read_patterns(top / place / ".gitignore", base=place), *ignores)
        place = f"{place}/{part}" if place else part
        if _is_ignored(place, ignores, is_folder=True):
            return "", ()
    return (place + "/" if place else ""), ignores


def _read_patterns(path: Path, *, base: str = "") -> Patterns:
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        text = ""
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return Patterns(text.split("\n"), base=base)


def _is_ignored(path: str, ignores: Iterable[Patterns], *, is_folder: bool) -> bool:
    for patterns in ignores:
        decision = patterns.decide(path, is_folder=is_folder)
        if decision is not None:
            return decision
    return False


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _unreadable(path: Path, exc: OSError) -> UsageError:
    return UsageError(
        f"{path} must be sent to the machines and cannot be read: {exc.strerror or exc}; "
        "make it readable, or exclude it by a .gitignore or exclude=[...]"
    )
