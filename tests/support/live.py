"""Running ``python -m tests.live`` as a user does, on an emulated account."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from tests.support.paths import ROOT


def run(*command: str, **environ: str) -> tuple[int, str]:
    """Run a Python module without a terminal; return its exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )
    return done.returncode, done.stdout


def with_options(options: Iterable[str]) -> list[str]:
    """Return the arguments for options, each as ``NAME=VALUE``."""
    return [word for option in options for word in ("-o", option)]
