"""Commands that set the machine up, and their errors."""

from __future__ import annotations

import os
import subprocess
import time

from ...errors import BigmachineError

_SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"  # a user's PATH may lack the first two
_LAST_CHARACTERS = 2000  # of a command's output that an error shows


class GuestError(BigmachineError):
    """A machine's setup failed; the message says why."""


class CommandError(GuestError):
    """A command failed; ``status`` is its exit status, and ``output`` what it printed."""

    def __init__(self, message: str, *, status: int | None, output: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.output = output


def run(*command: str, deadline: float) -> str:
    """Run a command until ``deadline``, by `time.monotonic`; return its output.

    Raises `CommandError`, which shows the end of the output.
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
        raise CommandError(f"{line}: the image has no {command[0]}", status=None) from exc
    except subprocess.TimeoutExpired as exc:
        raise CommandError(f"{line}: timed out", status=None) from exc
    output = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        last = output[-_LAST_CHARACTERS:] or f"status {done.returncode}"
        raise CommandError(f"{line}: {last}", status=done.returncode, output=output)
    return output
