"""The Pythons of this computer that the boot program supports, by minor version."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS = tuple(f"3.{minor}" for minor in range(9, 15))


def python_of(version: str) -> str:
    """Return the path of a Python of this version; skips the test if there is none here."""
    return _find(version) or pytest.skip(f"there is no Python {version} here")


def oldest_python() -> str:
    """Return the path of the oldest of them."""
    return next(filter(None, map(_find, VERSIONS)))


@functools.cache
def _find(version: str) -> str | None:
    if version == f"3.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}")]
    with contextlib.suppress(PermissionError):  # another user's
        candidates += map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    for candidate in filter(None, candidates):
        works = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
        if works.returncode == 0:
            return candidate
    return None
