"""Whether a folder is a project's: the user's home, or one that others share, is not sent whole."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .._values import size_text
from ..errors import UsageError
from ._ignore import Patterns
from ._messages import first_of, printable
from ._secrets import secret_by_name

# Enough to say that it is a lot; listing so many takes a tenth of a second.
_MAX_COUNTED = 2_000
_MAX_NAMED = 5  # files and folders in the message
_SHARED = ("/tmp", "/var/tmp", "/dev/shm")
_COMMANDS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "~/bin", "~/.local/bin")
_OF_HOME = ("Downloads", "Desktop")


def check_place(folder: Path, *, include: Sequence[str]) -> bool:
    """Return whether ``folder`` is a project's folder, which is sent whole.

    If it is not, only what ``include`` matches is to be sent. Raises `UsageError` if none of
    these patterns has a slash, so that the user has not said what to send of such a folder.
    Nothing below ``folder`` is read, except to count a limited number of files.
    """
    why = _question(folder)
    if why and not Patterns(include).is_anchored:
        raise UsageError(
            f"{printable(str(folder))} is {why}, and modules are imported from it, so all of it "
            f"would be sent to the machines: {_contents(folder)}.\nMove the program to a folder of "
            "its own, or say what to send of it, by EnvironmentOptions or the options of "
            "`bigmachine env`: include=['/helper.py'] sends only this file, include=['/*'] "
            "everything but secrets, exclude=['*'] nothing"
        )
    return why is None


def _question(folder: Path) -> str | None:
    """Return what the folder is, if it is not a project's."""
    real = os.path.realpath(folder)
    if real == os.path.realpath(os.sep):
        return "the root of the file system"
    if real in {os.path.realpath(place) for place in (*_SHARED, tempfile.gettempdir())}:
        return "a folder for temporary files"
    for home in _homes():
        if real == home:
            return "your home folder"
        if home.startswith(real + os.sep):
            return "a folder above your home folder"
        if real in _folders_of(home):
            return "a folder for all kinds of files"
    if real in {os.path.realpath(os.path.expanduser(place)) for place in _COMMANDS}:
        return "a folder for all kinds of commands"
    if why := secret_by_name(real.strip(os.sep).replace(os.sep, "/"), is_folder=True):
        return f"a folder for {why}"
    if sys.platform != "win32" and os.stat(real).st_mode & stat.S_IWOTH:
        return "a folder that every user of this computer can write to"
    return None


def _homes() -> Iterator[str]:
    """Yield the user's home folder, by the environment and by the user database."""
    homes = [os.path.expanduser("~")]
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):  # in containers, users may be in no database
            homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    for home in dict.fromkeys(homes):
        # "/" is the home of users who have none; the root has a check of its own.
        if os.path.isabs(home) and os.path.realpath(home) != os.path.realpath(os.sep):
            yield os.path.realpath(home)


def _folders_of(home: str) -> set[str]:
    """Return the folders for downloads and the desktop, also by their names in other languages."""
    folders = {os.path.join(home, name) for name in _OF_HOME}
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    try:
        text = Path(config, "user-dirs.dirs").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for name in re.findall(r'^XDG_(?:DOWNLOAD|DESKTOP)_DIR="(?:\$HOME/)?(.+)"', text, re.MULTILINE):
        folders.add(os.path.join(home, name))
    return {os.path.realpath(folder) for folder in folders}


def _contents(folder: Path) -> str:
    """Describe the files in ``folder``, without listing them all."""
    size_bytes = count = 0
    entries = [*itertools.islice(_entries(folder), _MAX_COUNTED)]
    for entry in entries:
        with contextlib.suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                size_bytes += entry.stat(follow_symlinks=False).st_size
                count += 1
    is_more = len(entries) == _MAX_COUNTED
    own = [each for each in entries if os.path.dirname(each.path) == os.fspath(folder)]
    names = sorted(printable(e.name) + "/" * e.is_dir(follow_symlinks=False) for e in own)
    return (
        f"{'at least ' * is_more}{count} file{'s' * (count != 1)}, {size_text(size_bytes)} "
        f"({first_of(names, most=_MAX_NAMED)})"
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of ``folder`` and then those below; what cannot be read is skipped."""
    ahead = collections.deque([os.fspath(folder)])
    while ahead:
        try:
            with os.scandir(ahead.popleft()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
                    yield entry
        except OSError:
            continue
