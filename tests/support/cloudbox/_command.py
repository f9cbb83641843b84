"""Commands that use a cloud in a box: ``python -m tests.support.aws …`` and ``…gcp …``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Protocol


class Hosts(Protocol):
    """The hosts of a cloud in a box."""

    def running(self) -> list[str]: ...

    def clear(self) -> None: ...


def run_command(
    command: list[str],
    *,
    environ: Mapping[str, str],
    leftovers: Callable[[], list[str]],
    box: Hosts,
) -> int:
    """Run a command in this environment; return its exit status, or 3 where it left something."""
    status = subprocess.call(command, env={**os.environ, **environ})
    if left := leftovers() + box.running():
        print(f"left: {', '.join(left)}", file=sys.stderr)
        box.clear()
        return 3
    return status
