"""Finds a file of the user's that hides a library: a script called ``queue.py`` or ``h2.py``.

Python looks for modules in the script's folder first. So such a file is imported in place of the
library, by us or by a library of ours, late and in a thread of ours. This module imports only
what Python itself has loaded.
"""

import os
import sys

_STANDARD = """
__future__ argparse array ast atexit base64 binascii bisect bz2 calendar collections concurrent
configparser contextlib contextvars copy copyreg csv ctypes dataclasses datetime difflib dis
email enum errno fcntl fnmatch functools gc gettext grp gzip hashlib heapq hmac http importlib
inspect ipaddress itertools json keyword linecache locale logging lzma math mimetypes mmap
numbers opcode operator pathlib pickle platform pwd queue quopri random re reprlib resource
secrets select selectors shlex shutil signal socket ssl string stringprep struct subprocess
symtable sysconfig tarfile tempfile textwrap threading token tokenize tomllib traceback types
typing unicodedata urllib uuid warnings weakref zipfile zlib
"""
_LIBRARIES = """
anyio attr attrs brotli brotlicffi certifi cffi click cloudpickle cryptography exceptiongroup h11 h2
hpack httpcore httpx hyperframe idna outcome pluggy pygments rich sniffio socksio sortedcontainers
trio typing_extensions zstandard
"""
STANDARD = frozenset(_STANDARD.split())
"""The modules of the standard library that a session needs and Python may not have loaded."""

LIBRARIES = frozenset(_LIBRARIES.split())
"""The libraries that a session imports, some of them only if they are installed."""


def check_nothing_hidden() -> None:
    """Raise `UsageError` if a file of the user's hides a library; it names the file."""
    for folder in _users_folders():
        for name, file in _hidden(folder):
            path, sys.path[:] = sys.path[:], [entry for entry in sys.path if entry != folder]
            try:
                from ..errors import UsageError  # which needs the standard library
            finally:
                sys.path[:] = path
            kind = "Python's own module" if name in STANDARD else "the library"
            raise UsageError(
                f"{os.path.abspath(file)} hides {kind} {name}, which bigmachine needs: rename it"
            )


def _users_folders() -> list[str]:
    """Return the entries of the import path that come before the standard library."""
    standard = os.path.dirname(os.__file__)
    return sys.path[: sys.path.index(standard)] if standard in sys.path else []


def _hidden(folder: str) -> list[tuple[str, str]]:
    """Return the name of each library that is hidden by a file in ``folder``, and the file."""
    try:
        entries = os.listdir(folder or os.curdir)
    except OSError:  # an archive, or gone
        return []
    if any(entry.endswith(".dist-info") for entry in entries):
        return []  # it is where libraries are installed
    found = []
    for entry in sorted(entries):
        name, _, suffix = entry.partition(".")
        file = os.path.join(folder, entry)
        if name in STANDARD and not suffix:
            file = os.path.join(file, "__init__.py")
            if not os.path.exists(file):
                continue
        elif suffix != "py" or name not in STANDARD | LIBRARIES:
            continue
        loaded = sys.modules.get(name)
        if loaded is None or _is_file_of(loaded, file):
            found.append((name, file))
    return found


def _is_file_of(module: object, file: str) -> bool:
    loaded = getattr(module, "__file__", None)
    return isinstance(loaded, str) and os.path.abspath(loaded) == os.path.abspath(file)
