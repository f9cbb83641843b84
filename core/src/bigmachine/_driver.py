"""The driver of a session: one process on one computer, and whether it is still alive.

Everything that a session makes is marked with its driver, so that leftovers can be told from
what is in use.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UsageError

_TEXT = re.compile(r"(\d{1,20})-(\d{1,20})-([0-9a-f]+)")
_OPTION = re.compile(r"--[A-Za-z][\w-]*|-[A-Za-z]", re.ASCII)  # of -pSECRET, no more than -p
_PLACE_LENGTH = 20  # hexadecimal digits: 80 bits are unique among all computers' boots
_DEAD = "ZX"  # states of /proc/PID/stat: it has ended, but its parent has not waited for it yet


@dataclass(frozen=True, slots=True)
class Driver:
    """The process that drives a session.

    ``place`` identifies where the ``pid`` is valid: the computer's boot and, on Linux, the PID
    namespace. ``started`` tells the process from a later one with the same ``pid``, in clock
    ticks since the boot; it is 0 where that is unknown. The rest is for people, and ignored when
    drivers are compared: ``host``, the computer's name; ``user``, who runs it; and ``command``, the
    program's name and the options on its command line, without values, which may be secrets.
    """

    pid: int
    started: int
    place: str
    host: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    command: str = field(default="", compare=False)

    @classmethod
    def here(cls) -> Driver:
        """Return this process."""
        pid = os.getpid()
        started, _ = _started(pid)
        return cls(pid, started, _place(), socket.gethostname(), _user(), program_text(sys.argv))

    @classmethod
    def parse(cls, text: str, *, host: str = "") -> Driver:
        """Parse what `str` returned; raises `UsageError` for anything else."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is not a driver; a driver is PID-STARTED-PLACE")
        return cls(int(match[1]), int(match[2]), match[3], host)

    def __str__(self) -> str:
        """Return all but the host's name, in at most 63 characters of ``[a-z0-9-]``."""
        return f"{self.pid}-{self.started}-{self.place}"

    @property
    def is_here(self) -> bool:
        """Whether it runs where this process runs: then it is known whether it is alive."""
        return self.place == _place()

    def is_alive(self) -> bool | None:
        """Return whether it is alive; None if that can't be known from here.

        It is unknown of a driver on another computer, in another container, or before this
        computer's last boot. In doubt, a process with its ``pid`` is taken for it.
        """
        if not self.is_here or sys.platform == "win32":  # where signal 0 is Ctrl-C
            return None
        try:
            os.kill(self.pid, 0)  # asks the kernel: /proc may hide what is another user's
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:  # it is another user's
            pass
        started, state = _started(self.pid)
        if state in _DEAD:
            return False
        return not (self.started and started) or started == self.started


def _started(pid: int) -> tuple[int, str]:
    """Return when a process was started, in ticks since the boot, and its state's letter.

    0 and a question mark where they are unknown.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Fields 22 and 3 of proc(5); the second one, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[19]), fields[0]
    return 0, "?"


def _user() -> str:
    """Return the user's name; "" if there is none, as in some containers."""
    import getpass  # only drivers of remote machines are described

    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # no module pwd, or no entry in it
        return ""


def program_text(argv: Sequence[str]) -> str:
    """Return ``"train.py --epochs -v"``: of each argument, nothing but the name of an option."""
    path = Path(argv[0] if argv else "")
    name = path.parent.name if path.name == "__main__.py" else path.name  # python -m NAME
    if not name or name.startswith("-"):  # an interactive one, python -c, or standard input
        name = "python"
    return " ".join([name, *(m[0] for argument in argv[1:] if (m := _OPTION.match(argument)))])


def _place() -> str:
    """Return an identifier of where this process's ``pid`` is valid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers on one computer share its boot, but each counts its processes from 1.
        words = [boot, str(os.stat("/proc/self/ns/pid").st_ino)]
    except OSError:  # not Linux: nothing in the standard library tells one boot from another
        import uuid  # which imports much

        words = [f"{uuid.getnode():x}", socket.gethostname()]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:_PLACE_LENGTH]
