"""The ``.gitignore`` files that apply to a folder, by git's rules."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from ._ignore import Patterns
from ._local_file import NotRegularError, open_regular, unreadable

# There is no such file, or a circular link, or a socket: for git too, it has no patterns.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def outer_ignores(folder: Path) -> tuple[str, tuple[Patterns, ...]]:
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
    ignores: tuple[Patterns, ...] = (read_patterns(top / ".git" / "info" / "exclude"),)
    place = ""
    for part in relative.parts:
        ignores = (read_patterns(top / place / ".gitignore", base=place), *ignores)
        place = f"{place}/{part}" if place else part
        if is_ignored(place, ignores, is_folder=True):
            return "", ()
    return (place + "/" if place else ""), ignores


def read_patterns(path: Path, *, base: str = "") -> Patterns:
    """Read the patterns of a file; none if there is no such file.

    Raises `UsageError` if it cannot be read: what it excludes would be sent.
    """
    text = ""
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig", "surrogateescape")
    except OSError as exc:
        if exc.errno not in _NO_FILE and not isinstance(exc, NotRegularError):
            raise unreadable(path, exc) from exc
    return Patterns(text.split("\n"), base=base)


def is_ignored(path: str, ignores: Iterable[Patterns], *, is_folder: bool) -> bool:
    """Return whether ``path`` is excluded; of the ``ignores``, the nearest comes first."""
    for patterns in ignores:
        decision = patterns.decide(path, is_folder=is_folder)
        if decision is not None:
            return decision
    return False
