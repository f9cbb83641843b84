"""The two tools that build wheels and ask package indexes: uv and pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# Compiling a big package takes minutes; one that hangs should not hang us for ever.
_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and all that it said on stdout and stderr."""

    status: int
    output: str

    def tail(self, lines: int) -> str:
        """Return the last lines that it said, indented."""
        said = [line for line in self.output.splitlines() if line.strip()]
        return "\n".join("  " + line for line in said[-lines:])


def find_uv() -> list[str] | None:
    """Return the command that runs uv, None if there is none."""
    # uv tells what it runs where it is.
    path = shutil.which("uv") or shutil.which(os.environ.get("UV", ""))
    if path:
        return [path]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else None


def find_pip() -> list[str] | None:
    """Return the command that runs pip, None if there is none."""
    return [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else None


def run(command: Sequence[str]) -> Outcome:
    """Run a command, in the user's own environment, so that it heeds the user's settings."""
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
        return Outcome(-1, f"{command[0]} can't be run: {exc}")
    return Outcome(done.returncode, done.stdout.decode("utf-8", "replace"))
