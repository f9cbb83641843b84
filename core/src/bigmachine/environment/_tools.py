"""Run uv or pip, which build wheels and query package indexes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ..process import python_command

# Compiling a large package takes minutes; a build that hangs must end some time.
_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command's exit status, and its output on stdout and stderr."""

    status: int
    output: str

    def tail(self, count: int) -> str:
        """Return the last ``count`` lines of its output, indented."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return "\n".join("  " + line for line in lines[-count:])


def find_uv() -> list[str] | None:
    """Return the command that runs uv, or None if there is no uv."""
    # uv sets this variable, its own path, for the commands that it runs.
    path = shutil.which("uv") or shutil.which(os.environ.get("UV", ""))
    if path:
        return [path]
    return python_command("-m", "uv") if importlib.util.find_spec("uv") else None


def find_pip() -> list[str] | None:
    """Return the command that runs pip, or None if there is no pip."""
    return python_command("-m", "pip") if importlib.util.find_spec("pip") else None


def run(command: Sequence[str]) -> Outcome:
    """Run a command with the user's environment variables, so that the user's settings apply."""
    environ = {**os.environ, "NO_COLOR": "1", "UV_NO_PROGRESS": "1", "PIP_NO_INPUT": "1"}
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(-1, f"{command[0]} took more than {_TIMEOUT:g} s")
    except OSError as exc:
        return Outcome(-1, f"cannot run {command[0]}: {exc}")
    return Outcome(done.returncode, done.stdout.decode("utf-8", "replace"))
