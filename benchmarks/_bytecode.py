"""Bytecode is compiled once, before anything is timed, for every contestant alike.

Where `PYTHONDONTWRITEBYTECODE` is set, as in many containers, and nothing is compiled, each
new process compiles all that it imports: it took a driver 1.6 s to start instead of 0.7.
"""

from __future__ import annotations

import compileall
import os
import re
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
# Folders that nobody imports: a package's tests, and what the standard library's folder
# holds of installed packages (where those are used, their folder is itself on the path).
SKIPPED = "tests?|site-packages"


def compile_all() -> None:
    """Compile what any contestant may import, unless that was done before.

    What can't be compiled is left: installed packages contain templates that aren't Python.
    """
    imported = {Path(entry).resolve() for entry in sys.path if os.path.isdir(entry)}
    for folder in sorted(imported - {BENCHMARKS.parent} | {BENCHMARKS}):
        skipped = re.compile(rf"^{re.escape(str(folder))}/(.*/)?({SKIPPED})/")
        compileall.compile_dir(folder, quiet=2, rx=skipped)


def environ() -> dict[str, str]:
    """Return this process's environment, less the variable that forbids to write bytecode."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
