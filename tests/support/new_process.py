"""Tests that look at their whole process, which should be one of their own."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable


def in_new_process(test: Callable[[], None]) -> Callable[[], None]:
    """Have a test of a module run in a new Python, which has nothing but that module."""

    @functools.wraps(test)
    def run() -> None:
        code = f"import {test.__module__} as tests; tests.{test.__name__}.__wrapped__()"
        done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False)
        assert not done.returncode, done.stderr.decode()

    return run
