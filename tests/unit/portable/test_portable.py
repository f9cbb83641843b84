"""The driver's side does without Linux: macOS and Windows drive machines elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def python(*arguments):
    # Without what the outer pytest was told.
    environ = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=110,
        env=environ,
    )


@pytest.mark.parametrize(
    "tests",
    [
        ["tests/unit/machine/test_lifecycle.py"],
        pytest.param(["tests/unit/machine", "tests/unit/system"], marks=pytest.mark.long),
    ],
)
def test_driver_works_without_what_only_linux_has(tests):
    options = ["-q", "-n0", "-p", "tests.unit.portable.without_linux", "-p", "no:cacheprovider"]
    run = python("-m", "pytest", *options, *tests)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


PROGRAM = """
import sys
import tests.unit.portable.without_linux
sys.platform = "win32"
import bigmachine as bm
for name in bm.__all__:
    getattr(bm, name)
from bigmachine.cli import main
assert main(["systems"]) == 0
try:
    with bm.Session("local"):
        pass
except bm.NotSupportedError as exc:
    print(exc)
"""


def test_everything_imports_and_the_local_system_says_what_to_use_instead():
    run = python("-c", PROGRAM)
    assert run.returncode == 0, run.stderr
    assert "does not run on Windows; use WSL, or a system in the cloud" in run.stdout
