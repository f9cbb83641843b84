"""Commands of the machine that a worker sets itself up with, and what they say when they fail."""

from __future__ import annotations

import os
import subprocess
import time

from bigmachine.errors import BigmachineError

_SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"  # a user's own PATH may lack the first two
_LAST_CHARACTERS = 2000  # of what a command says that are shown


class GuestError(BigmachineError):
    """A machine can't be set up as it was asked for; the message says why."""


class CommandError(GuestError):
    """A command failed; ``status`` is what it exited with, and ``said`` what it printed."""

    def __init__(self, message: str, *, status: int | None, said: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.said = said


def run(*command: str, deadline: float) -> str:
    """Run a command until ``deadline``, by `time.monotonic`; return what it prints.

    Raises `CommandError`, which shows its last words.
    """
    line = " ".join(command)
    path = f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}".lstrip(":")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=max(deadline - time.monotonic(), 0.1),
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError as exc:
        raise CommandError(f"{line}: this image has no {command[0]}", status=None) from exc
    except subprocess.TimeoutExpired as exc:
        raise CommandError(f"{line}: not done in time", status=None) from exc
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        last = said[-_LAST_CHARACTERS:] or f"status {done.returncode}"
        raise CommandError(f"{line}: {last}", status=done.returncode, said=said)
    return said
