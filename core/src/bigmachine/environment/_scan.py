"""Which files of a local folder are sent: those that git would add, but no secrets."""

from __future__ import annotations

import itertools
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UsageError
from ._ignore import Patterns
from ._ignore_files import is_ignored, outer_ignores, read_patterns
from ._left_out import LeftOut, Reason
from ._local_file import NotRegularError, open_regular, unreadable
from ._messages import first_of, printable
from ._secrets import HEAD_BYTES, is_judged_by_content, secret_by_content, secret_by_name

logger = logging.getLogger("bigmachine.environment")

# Tools generate these for themselves, and again where they are missing.
_GENERATED_FOLDERS = {
    **dict.fromkeys((".git", ".hg", ".svn", ".bzr", ".jj"), "the data of a version control system"),
    **dict.fromkeys((".tox", ".nox", ".conda", ".pixi"), "virtual environments"),
    **dict.fromkeys(("__pycache__", "node_modules", ".cache", ".eggs", ".direnv"), "a cache"),
    **dict.fromkeys((".mypy_cache", ".ruff_cache", ".pytest_cache", ".pytype"), "a cache"),
    **dict.fromkeys((".hypothesis", ".import_linter_cache", ".terraform"), "a cache"),
    ".ipynb_checkpoints": "copies of notebooks",
}
_GENERATED_FILES = (".pyc", ".DS_Store")
# A folder that contains one of these is a virtual environment: Python and distributions.
_ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})

# By convention a project's secrets are in such a folder, but it may also be a package.
_SECRET_FOLDERS = frozenset({"secrets", "credentials"})

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
    """A local folder that modules are imported from, its files that are sent, and the others.

    A folder that is not sent counts as one among those ``left_out``.
    """

    path: Path
    files: tuple[File, ...] = field(repr=False)
    left_out: tuple[LeftOut, ...] = field(repr=False, default=())

    @property
    def size_bytes(self) -> int:
        """The size of its files, in bytes."""
        return sum(file.size_bytes for file in self.files)


def scan(
    folder: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    only_included: bool = False,
    max_entries: int = MAX_ENTRIES,
) -> Folder:
    """List the files of ``folder`` that are sent, sorted by path.

    ``include`` and ``exclude`` are patterns in the format of ``.gitignore``, relative to
    ``folder``. A file that ``exclude`` matches is not sent; one that ``include`` matches is
    sent, even if a ``.gitignore`` excludes it. If ``only_included``, no other file is sent, and
    patterns without a slash are not searched for in every folder.

    Secrets, and what tools generate (``.git``, ``__pycache__``, virtual environments, …), are
    sent only if ``include`` names them: by a pattern that matches them themselves, not only a
    folder above them, and that is more than wildcards.

    A symbolic link is replaced by the file it points to. If a link is broken, points outside
    the folder or forms a loop, it is not sent, with a warning; nor are sockets and pipes.

    Raises `UsageError` for what cannot be read, and for more than ``max_entries`` files.
    """
    walk = _Walk(folder, include, exclude, only_included, max_entries)
    files = sorted(walk.files(), key=lambda file: file.path)
    left_out = sorted(walk.left_out, key=lambda each: each.path)
    missed = [str(each) for each in left_out if each.reason in (Reason.LINK, Reason.SPECIAL)]
    if missed:
        paths = first_of(missed, most=_MAX_NAMED, separator="; ")
        logger.warning("%s: not sent: %s", folder, paths)
    return Folder(path=folder, files=tuple(files), left_out=tuple(left_out))


@dataclass(frozen=True, slots=True)
class _Visit:
    """A folder to scan, and what was decided about it."""

    path: str  # relative to the top, "" for itself
    ignores: tuple[Patterns, ...]  # the nearest first
    is_included: bool = False  # `include` matches it, or a folder above it
    is_ignored: bool = False
    is_open: bool = False  # it would be held, but `include` names it: all in it is sent
    held: tuple[Reason, str] | None = None  # why it is not sent, except for what is named


class _Walk:
    def __init__(
        self,
        folder: Path,
        include: Sequence[str],
        exclude: Sequence[str],
        only_included: bool,
        max_entries: int,
    ) -> None:
        self.left_out: list[LeftOut] = []
        self._folder = folder
        self._real = os.path.realpath(folder)
        self._include = Patterns(include)
        self._named = named_patterns(include)
        self._exclude = Patterns(exclude)
        self._only_included = only_included
        self._max_entries = max_entries
        self._seen: Counter[str] = Counter()  # entries, by the first part of their path
        self._count = 0
        self._prefix, self._outer = outer_ignores(folder)

    def files(self) -> Iterator[File]:
        visits = [_Visit("", self._outer, is_ignored=self._only_included)]
        while visits:
            visit = visits.pop()
            entries = self._entries(visit.path)
            names = {entry.name for entry in entries}
            if visit.path and names & _ENVIRONMENT_MARKS:
                if not (visit.is_open or self._named.decide(visit.path, is_folder=True)):
                    self._leave_out(visit.path + "/", Reason.GENERATED, "a virtual environment")
                    continue
                visit = replace(visit, is_open=True)
            ignores = visit.ignores
            if ".gitignore" in names and not (visit.is_included or visit.is_ignored):
                base = (self._prefix + visit.path).rstrip("/")
                own = read_patterns(self._folder / visit.path / ".gitignore", base=base)
                ignores = (own, *ignores)
            for entry in entries:
                path = f"{visit.path}/{entry.name}" if visit.path else entry.name
                self._seen[path.partition("/")[0]] += 1
                chosen = self._choose(entry, path, visit, ignores)
                if isinstance(chosen, _Visit):
                    visits.append(chosen)
                elif chosen is not None:
                    yield chosen

    def _entries(self, path: str) -> list[os.DirEntry[str]]:
        left = self._max_entries - self._count
        try:
            with os.scandir(self._folder / path) as found:
                entries = list(itertools.islice(found, left + 1))
        except OSError as exc:
            if path and isinstance(exc, FileNotFoundError | NotADirectoryError):
                return []  # it has just been deleted
            raise unreadable(self._folder / path, exc) from exc
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
        shown = path + "/" * is_folder
        if self._exclude.decide(path, is_folder=is_folder):
            self._leave_out(shown, Reason.EXCLUDED, "excluded by the user")
            return None
        reason = visit.held or self._hold(entry, path)
        is_named = visit.is_open or bool(self._named.decide(path, is_folder=is_folder))
        held = None if is_named else reason
        is_included = visit.is_included or bool(self._include.decide(path, is_folder=is_folder))
        is_ignored_here = not is_included and (
            visit.is_ignored or is_ignored(self._prefix + path, ignores, is_folder=is_folder)
        )
        if held and held != visit.held:
            self._leave_out(shown, *held)
        if held and not (is_folder and self._named.may_match_below(path, only_anchored=True)):
            return None
        if is_ignored_here and not (is_folder and self._may_include_below(path)):
            if self._only_included:
                self._leave_out(shown, Reason.EXCLUDED, "not included by the user")
            else:
                self._leave_out(shown, Reason.IGNORED, "excluded by a .gitignore")
            return None
        if is_link and not self._may_follow(path, is_named=is_named):
            return None
        if _is_dir(entry):
            is_open = visit.is_open or (is_named and reason is not None)
            return _Visit(path, ignores, is_included, is_ignored_here, is_open, held)
        return self._file(path, is_judged=not is_named, is_link=is_link)

    def _may_include_below(self, path: str) -> bool:
        return self._include.may_match_below(path, only_anchored=self._only_included)

    def _hold(self, entry: os.DirEntry[str], path: str) -> tuple[Reason, str] | None:
        """Return why an entry is not sent unless it is named."""
        is_folder = _is_dir(entry)
        if is_folder and entry.name in _GENERATED_FOLDERS:
            return Reason.GENERATED, _GENERATED_FOLDERS[entry.name]
        if entry.name.endswith(_GENERATED_FILES) and not is_folder:
            return Reason.GENERATED, "a cache"
        if why := secret_by_name(path, is_folder=is_folder):
            if is_folder and any(os.path.lexists(Path(entry, mark)) for mark in _ENVIRONMENT_MARKS):
                return Reason.GENERATED, "a virtual environment"  # it is called `.env`
            return Reason.SECRET, why
        if is_folder and entry.name.lower() in _SECRET_FOLDERS and not _has_modules(entry):
            return Reason.SECRET, "credentials"
        return None

    def _may_follow(self, path: str, *, is_named: bool) -> bool:
        link = self._folder / path
        target = os.path.realpath(link)
        if not os.path.exists(target):
            self._leave_out(path, Reason.LINK, "a broken link")
        elif not _is_within(target, self._real):
            why = f"a link that points outside the folder, to {printable(target)}"
            self._leave_out(path, Reason.LINK, why)
        elif _is_within(os.path.realpath(link.parent), target):
            self._leave_out(path, Reason.LINK, "a link to a folder that contains it")
        elif not is_named and (secret := self._secret_at(target)):
            self._leave_out(path, Reason.SECRET, f"a link to {secret}")
        else:
            return True
        return False

    def _secret_at(self, target: str) -> str | None:
        """Return what secret a path in the folder holds, or a folder above it."""
        parts = os.path.relpath(target, self._real).split(os.sep)
        for count in range(1, len(parts) + 1):
            is_folder = count < len(parts) or os.path.isdir(target)
            if is_folder and parts[count - 1] in _GENERATED_FOLDERS:
                return _GENERATED_FOLDERS[parts[count - 1]]
            if why := secret_by_name("/".join(parts[:count]), is_folder=is_folder):
                return why
        return None

    def _file(self, path: str, *, is_judged: bool, is_link: bool) -> File | None:
        source = self._folder / path
        name = os.path.basename(os.path.realpath(source)) if is_link else source.name
        is_judged = is_judged and is_judged_by_content(name)
        try:
            status = source.stat()
            if not stat.S_ISREG(status.st_mode):
                raise NotRegularError
            with open_regular(source) as file:
                head = file.read(min(HEAD_BYTES, status.st_size)) if is_judged else b""
        except NotRegularError:
            self._leave_out(path, Reason.SPECIAL, "not a regular file")
            return None
        except FileNotFoundError:
            return None  # it has just been deleted
        except OSError as exc:
            raise unreadable(source, exc) from exc
        if is_judged and (why := secret_by_content(name, head)):
            self._leave_out(path, Reason.SECRET, why)
            return None
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        return File(path=path, source=source, size_bytes=status.st_size, mode=mode)

    def _leave_out(self, path: str, reason: Reason, why: str) -> None:
        self.left_out.append(LeftOut(str(self._folder), path, reason, why))

    def _too_many(self) -> UsageError:
        largest = [
            f"{printable(name) or '.'} ({count})"
            for name, count in self._seen.most_common(_MAX_NAMED)
        ]
        return UsageError(
            f"{self._folder} has more than {self._max_entries} files. It must be sent to the "
            f"machines, because modules are imported from it. Most files seen so far are in "
            f"{', '.join(largest)}. Put the script in its own folder, or exclude folders by a "
            ".gitignore or exclude=[...]"
        )


def named_patterns(include: Sequence[str]) -> Patterns:
    """Return those patterns that name something: they are more than wildcards."""
    return Patterns(pattern for pattern in include if pattern.strip("*/.?"))


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where nobody may look
        return False


def _has_modules(entry: os.DirEntry[str]) -> bool:
    try:
        with os.scandir(entry) as found:
            return any(each.name.endswith((".py", ".pyi")) for each in found)
    except OSError:
        return False


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
