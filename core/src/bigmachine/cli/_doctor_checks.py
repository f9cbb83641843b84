"""What `bigmachine doctor` looks at on this computer."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import BigmachineError, UsageError

OK, REMARK, PROBLEM = "ok", "remark", "problem"

_FREE_BYTES = 1 << 30  # a machine's environment and temporary files may need as much
_OPEN_FILES = 1024  # a driver has one or several for each machine, as its system says


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``detail`` says what is, or what is wrong and what to do."""

    name: str
    verdict: str
    detail: str = ""


def findings_here() -> Iterator[Finding]:
    """Look at this computer: nothing is sent, and nothing is changed."""
    yield Finding("Python", OK, _python())
    yield _versions()
    yield _uv()
    yield _settings()
    yield from _broken_systems()
    yield _sockets()
    yield _temporary()
    yield from _open_files()


def _python() -> str:
    text = f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    with contextlib.suppress(AttributeError):  # of Python 3.13
        text += "" if sys._is_gil_enabled() else ", free-threaded"  # type: ignore[attr-defined]
    return text


def _versions() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    from ..system._entrypoints import EXTRAS
    from ..system._installation import install_command

    found: dict[str, str] = {}
    for name in ("bigmachine", *(f"bigmachine-{extra}" for extra in EXTRAS)):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(set(found.values())) > 1:
        command = install_command(*(n.removeprefix("bigmachine-") for n in found if "-" in n))
        advice = f"they must be of one version: {command} --upgrade"
        return Finding("versions", PROBLEM, f"{text}; {advice}")
    return Finding("versions", OK, text or "not installed as a distribution")


def _uv() -> Finding:
    path = shutil.which("uv")
    if path is None:
        return Finding("uv", OK, "not installed; it is not needed here: machines fetch their own")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("uv", REMARK, f"{path} does not work: {error}")
    return Finding("uv", OK, f"{done.stdout.strip()}, {path}")


def _settings() -> Finding:
    from ..system._entrypoints import EXTRAS, installed_systems
    from ..system._option_file import find_option_file
    from ..system._options import misspelt_variables

    try:
        file = find_option_file()
    except UsageError as error:
        return Finding("settings", PROBLEM, str(error))
    variables = sorted(name for name in os.environ if name.startswith("BIGMACHINE_"))
    known = [*EXTRAS, *(entry.name for entry in installed_systems())]
    wrong = [
        f"{name} is ignored; did you mean {guess}…?" for name, guess in misspelt_variables(known)
    ]
    if wrong:
        return Finding("settings", REMARK, "; ".join(wrong))
    text = f"{file.path}" if file else "no file"
    return Finding("settings", OK, ", ".join([text, *variables]))


def _broken_systems() -> Iterator[Finding]:
    from ..system._entrypoints import installed_systems, load_system
    from ..system._installation import install_command
    from ..system._plugins import check_system

    names = dict.fromkeys(entry.name for entry in installed_systems())
    broken = False
    for name in names:
        try:
            check_system(load_system(name))
        except BigmachineError as error:
            broken = True
            yield Finding("systems", PROBLEM, str(error))
    if not names:
        yield Finding("systems", PROBLEM, f"none is installed: {install_command('local')}")
    elif not broken:
        yield Finding("systems", OK, ", ".join(names))


def _sockets() -> Finding:
    from ..debug._socket_folder import socket_folder

    folder = socket_folder(make=True)
    if folder is None:
        advice = "set XDG_RUNTIME_DIR to a folder with a short path that is yours alone"
        return Finding(
            "sockets", REMARK, f"commands such as `bigmachine top` find no session: {advice}"
        )
    return Finding("sockets", OK, str(folder))


def _temporary() -> Finding:
    from .._values import size_text

    folder = tempfile.gettempdir()
    free_bytes = shutil.disk_usage(folder).free
    text = f"{size_text(free_bytes)} free in {folder}"
    if free_bytes < _FREE_BYTES:
        return Finding("temporary files", REMARK, f"{text}; set TMPDIR to a folder with more")
    return Finding("temporary files", OK, text)


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)  # sessions raise the soft limit to it
    if limit == resource.RLIM_INFINITY:
        yield Finding("open files", OK, "any number")
    elif limit < _OPEN_FILES:
        text = f"at most {limit:,}, too few for many machines: ulimit -n {_OPEN_FILES}"
        yield Finding("open files", REMARK, text)
    else:
        yield Finding("open files", OK, f"at most {limit:,}")
