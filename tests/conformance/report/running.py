"""Runs of pytest on small suites, each in its own process and folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREAMBLE = """\
import pytest
import bigmachine as bm
from bigmachine.testing import InProcessSystem
from bigmachine.testing.conformance import Suite
"""
# The options of the surrounding pytest are not for the small suites.
_ENVIRONMENT = {"PYTEST_ADDOPTS": "", "COLUMNS": "100"}
_PYTEST = (
    *(sys.executable, "-m", "pytest", "-pno:cacheprovider"),
    "-pbigmachine.testing.conformance._plugin",
)
_REPORTS = ("--conformance-json=report.json", "--junitxml=junit.xml")


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


def run_suite(folder: Path, source: str, *arguments: str) -> Run:
    """Run pytest on a module with ``source``."""
    (folder / "test_suite.py").write_text(PREAMBLE + source)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return run(
        folder,
        [*_PYTEST, "test_suite.py", *_REPORTS, *arguments],
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",  # the other plugins take longer than the tests
    )


def run(folder: Path, command: list[str], **environ: str) -> Run:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **_ENVIRONMENT,
            **environ,
            "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
        },
    )
    report, junit = folder / "report.json", folder / "junit.xml"
    return Run(
        status=done.returncode,
        output=done.stdout + done.stderr,
        report=json.loads(report.read_text()) if report.exists() else None,
        junit=junit.read_text() if junit.exists() else "",
    )
