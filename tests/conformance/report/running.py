"""Runs of pytest on small suites, in a process and a folder of their own."""

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
# What whoever runs these tests asks of pytest is not for the small suites.
_ENVIRONMENT = {"PYTEST_ADDOPTS": "", "COLUMNS": "100"}
_REPORTS = ("--conformance-json=report.json", "--junitxml=junit.xml")


@dataclass
class Run:
    status: int
    output: str
    report: dict[str, Any] | None
    junit: str

    @property
    def results(self) -> dict[str, tuple[str, str]]:
        """Outcome and reason of each clause of the only suite."""
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
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "test_suite.py",
            *_REPORTS,
            *arguments,
        ],
    )


def run(folder: Path, command: list[str]) -> Run:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )
    report, junit = folder / "report.json", folder / "junit.xml"
    return Run(
        status=done.returncode,
        output=done.stdout + done.stderr,
        report=json.loads(report.read_text()) if report.exists() else None,
        junit=junit.read_text() if junit.exists() else "",
    )
