"""The command that starts a Python process like this one.

Every process that bigmachine starts gets this process's interpreter and its flags. What has no
bounded length, such as `sys.path` and `sys.argv`, is not on its command line, which has a limit,
but in a header that the process reads first (see `_start`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from . import _start

# Also mayapy and hython, the interpreters of two applications.
_PYTHON_NAME = re.compile(r"py|ython", re.IGNORECASE)
_FLAGS = {
    "debug": "d",
    "optimize": "O",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "verbose": "v",
    "bytes_warning": "b",
    "isolated": "I",
    "ignore_environment": "E",
    "no_user_site": "s",
}


def python_command(*arguments: str) -> list[str]:
    """Return the command of a new Python process: this interpreter, its flags, ``arguments``.

    It imports nothing from the current folder (``-P``). Raises `UsageError` if this process has
    no interpreter of its own, as in a frozen application: what `sys.executable` names there is
    the application, which would start itself without end.
    """
    return [_interpreter(), *_flags(), "-P", *arguments]


def start_command(entry: str, fd: int) -> list[str]:
    """Return the command of a process that calls ``entry``, a ``"module:function"``.

    It reads its header (see `pack`) from descriptor ``fd``, and calls the function with the
    header, and with the arguments that are added to the command.
    """
    start = os.path.abspath(_start.__file__)
    if not os.path.isfile(start):
        raise UsageError(
            f"bigmachine can't start processes from an archive ({start}); install it unpacked"
        )
    return python_command(start, entry, str(fd))


def python_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for such a process, by default those of this one.

    Relative entries of ``PYTHONPATH`` are kept from the interpreter: they would be the current
    folder. `_start` restores the variable.
    """
    result = dict(os.environ if environ is None else environ)
    result[_start.STARTED_BY] = str(os.getpid())
    if python_path := result.get("PYTHONPATH"):
        absolute = [entry for entry in python_path.split(os.pathsep) if os.path.isabs(entry)]
        result[_start.PYTHON_PATH] = python_path
        result["PYTHONPATH"] = os.pathsep.join(absolute)
    return result


def module_path() -> dict[str, Any]:
    """Return `sys.path` for a header, absolute, and which of it is relative here.

    Relative entries, such as ``''``, are the current folder: a new process imports nothing from
    there before it has imported bigmachine. What is not text is left out, as Python ignores it.
    """
    path: list[str] = []
    relative: list[str] = []
    for entry in sys.path:
        if isinstance(entry, str):
            try:
                path.append(os.path.abspath(entry))
            except OSError:  # the current folder was deleted
                continue
            if not os.path.isabs(entry):
                relative.append(path[-1])
    return {"path": path, "relative": relative}


def _interpreter() -> str:
    hint = "bigmachine starts Python processes; run the program by a Python interpreter"
    if starter := os.environ.get(_start.STARTED_BY):
        raise UsageError(
            f"this program was started by process {starter} in place of a Python interpreter; "
            f"{hint}"
        )
    if getattr(sys, "frozen", False) or hasattr(sys.modules.get("__main__"), "__compiled__"):
        raise UsageError(f"this program is a frozen application, without an interpreter; {hint}")
    executable = sys.executable
    if not (isinstance(executable, str) and executable):
        raise UsageError(f"sys.executable is {executable!r}, so the interpreter is unknown; {hint}")
    path = executable if os.path.isabs(executable) else shutil.which(executable)
    if path is None or not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise UsageError(f"sys.executable is {executable!r}, which can't be run; {hint}")
    names = (os.path.basename(path), os.path.basename(os.path.realpath(path)))
    if not any(map(_PYTHON_NAME.search, names)):
        raise UsageError(
            f"sys.executable is {executable!r}, which is no Python interpreter; {hint}, or set "
            "sys.executable to one"
        )
    return os.path.abspath(path)


def _flags() -> list[str]:
    """Return the options on this interpreter's command line; `subprocess` has them only in part."""
    flags = [
        "-" + letter * count
        for name, letter in _FLAGS.items()
        if (count := int(getattr(sys.flags, name))) > 0
    ]
    # With -u, Python's own streams write through.
    if any(getattr(file, "write_through", False) for file in (sys.__stdout__, sys.__stderr__)):
        flags.append("-u")
    options: dict[str, str | bool] = dict(getattr(sys, "_xoptions", {}))
    if sys.flags.dev_mode:
        options.setdefault("dev", True)
    for name, value in options.items():
        flags += ["-X", name if value is True else f"{name}={value}"]
    flags += [f"-W{option}" for option in sys.warnoptions if isinstance(option, str)]
    return flags
