"""Runs of the kit on small suites, each in its own folder, and what they print and report."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bigmachine.cli import main

PREAMBLE = """\
import pytest
import trio
import bigmachine as bm
from bigmachine.testing import InProcessSystem
from bigmachine.testing.conformance import Suite
"""
# The options and plugins of the surrounding pytest are not for the small suites.
_ENVIRONMENT = {"PYTEST_ADDOPTS": "", "COLUMNS": "100", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
_ARGUMENTS = (
    *("-pno:cacheprovider", "-pbigmachine.testing.conformance._plugin", "--capture=sys"),
    "-Wignore::pytest.PytestAssertRewriteWarning",  # this process has imported us
    *("test_suite.py", "--conformance-json=report.json", "--junitxml=junit.xml"),
)


@dataclass
class Run:
    status: int
    output: str
    report: dict[str, Any] | None
    junit: str

    @property
    def results(self) -> dict[str, tuple[str, str]]:
        """The outcome and reason of each clause; there is one suite."""
        [suite] = self.report["suites"]
        return {test["clause"]: (test["outcome"], test["reason"]) for test in suite["tests"]}

    def verdict(self, level: str) -> str:
        [suite] = self.report["suites"]
        [found] = [entry for entry in suite["levels"] if entry["name"] == level]
        return found["verdict"]


def run_suite(folder: Path, source: str, *arguments: str, is_alone: bool = False) -> Run:
    """Run pytest on a module with ``source``.

    In this process, since a new one takes longer than most suites; a suite that leaves threads
    or machines must be ``is_alone``.
    """
    (folder / "test_suite.py").write_text(PREAMBLE + source)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    if is_alone:
        command = [sys.executable, "-m", "pytest", *_ARGUMENTS, *arguments]
        return run(folder, command, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    output = io.StringIO()
    with (
        _alone(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        status = pytest.main([*_ARGUMENTS, *arguments])
    return _result(folder, int(status), output.getvalue())


def run_command(folder: Path, *arguments: str) -> Run:
    """Run ``bigmachine conformance`` in this process."""
    output = io.StringIO()
    plugin = "--pytest=-pbigmachine.testing.conformance._plugin --capture=sys"
    with (
        _alone(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        status = main(["conformance", *arguments, plugin])
    return _result(folder, status, output.getvalue())


def run(folder: Path, command: list[str], **environ: str) -> Run:
    """Run a command in a process of its own."""
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "",
            "COLUMNS": "100",
            **environ,
            "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
        },
    )
    return _result(folder, done.returncode, done.stdout + done.stderr)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hide the surrounding pytest from the one that runs in the block, and the other way round."""
    path, modules, here = sys.path[:], set(sys.modules), Path.cwd()
    os.chdir(folder)
    try:
        with mock.patch.dict(os.environ, _ENVIRONMENT):
            yield
    finally:
        os.chdir(here)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and (file.startswith(str(folder)) or not Path(file).exists()):
                del sys.modules[name]


def _result(folder: Path, status: int, output: str) -> Run:
    report, junit = folder / "report.json", folder / "junit.xml"
    return Run(
        status=status,
        output=output,
        report=json.loads(report.read_text()) if report.exists() else None,
        junit=junit.read_text() if junit.exists() else "",
    )
