"""A user's project: a folder with a program, a package of its own and some data."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

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
