"""The driver works on macOS and Windows, with machines on other hosts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def python(*arguments):
    # Without the options of the outer pytest.
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
        ["tests/unit/machine/test_installing.py", "tests/unit/system/test_options.py"],
        pytest.param(["tests/unit/machine", "tests/unit/system"], marks=pytest.mark.long),
    ],
)
def test_driver_works_without_linux_only_functions(tests):
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


def test_all_names_import_on_windows_and_local_system_suggests_others():
    run = python("-c", PROGRAM)
    assert run.returncode == 0, run.stderr
    assert "does not run on Windows; use WSL, or a system in the cloud" in run.stdout
