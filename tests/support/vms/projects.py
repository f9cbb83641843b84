"""A user's project: a folder with a program, a package of its own and some data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bigmachine.environment._tools import find_pip, find_uv

needs_builder = pytest.mark.skipif(
    not (find_uv() or find_pip()),
    reason="editable packages are built by uv or pip: neither is installed",
)


def make_project(folder: Path, program: str, *modules: Path) -> Path:
    """Write a project whose ``main.py`` is ``program``, with copies of ``modules``."""
    (folder / "helpers" / "deep").mkdir(parents=True)
    (folder / "helpers" / "__init__.py").touch()
    (folder / "helpers" / "deep" / "__init__.py").write_text("def answer():\n    return 42\n")
    (folder / "data.txt").write_text("some data")
    (folder / "main.py").write_text(textwrap.dedent(program))
    for module in modules:
        shutil.copy(module, folder)
    return folder


def run_project(folder: Path, *arguments: object, **environ: str) -> Any:
    """Run the program of a project; return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    return json.loads(done.stdout)
