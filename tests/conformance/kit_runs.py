"""Runs of the kit, each in a pytest process of its own, and their reports."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.broken import PATH
from tests.support.paths import ROOT
from tests.support.processes import marked
from tests.support.waiting import until

MARK = "CONFORMANCE_RUN"
MODULE = "test_suite.py"
_TIMEOUT = 900.0
_GRACE = 5.0
# Only the kit's own plugin, since the others are slow to import.
_ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
_PYTEST = [
    *(sys.executable, "-m", "pytest", "-q", "--tb=short", "--durations=5"),
    "-pno:cacheprovider",
    "-pbigmachine.testing.conformance._plugin",
]


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    output: str
    suites: dict[str, list[dict[str, Any]]]
    """The report on each test, by suite."""
    left: list[str]
    """The commands of the processes that outlived the run; they have been killed."""

    @property
    def tests(self) -> list[dict[str, Any]]:
        """The report on each test of all suites."""
        return [test for tests in self.suites.values() for test in tests]

    def reasons(self, suite: str) -> dict[str, str]:
        """Return why tests of one suite failed, by clause."""
        tests = self.suites.get(suite, [])
        return {test["clause"]: test["reason"] for test in tests if test["outcome"] == "failed"}

    def clauses(self, outcome: str, *, suite: str | None = None) -> set[str]:
        """Return the clauses of the tests with that outcome, of one suite or all."""
        tests = self.tests if suite is None else self.suites.get(suite, [])
        return {test["clause"] for test in tests if test["outcome"] == outcome}

    @property
    def blocked(self) -> set[str]:
        """The clauses that could not be tested."""
        return {
            test["clause"]
            for test in self.tests
            if test["outcome"] == "skipped" and test["reason"].startswith("blocked")
        }


def run(
    folder: Path, source: str, *, entry_points: str = "", chosen: Sequence[str] = (MODULE,)
) -> Run:
    """Run the suites of a module, or ``chosen`` tests of it, in an empty project at ``folder``."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / MODULE).write_text(source)
    if entry_points:
        info = folder / "broken_backend-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: broken-backend\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(entry_points)
    report, mark = folder / "report.json", secrets.token_hex(8)
    path = [str(ROOT), str(PATH), str(folder)]
    with subprocess.Popen(
        [*_PYTEST, f"--conformance-json={report}", *chosen],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **_ENVIRONMENT, MARK: mark, "PYTHONPATH": os.pathsep.join(path)},
        start_new_session=True,
        text=True,
        errors="replace",
    ) as process:
        try:
            output, _ = process.communicate(timeout=_TIMEOUT)
        finally:
            process.kill()
    left = _left(f"{MARK}={mark}")
    suites = json.loads(report.read_text())["suites"] if report.exists() else []
    return Run(output, {suite["suite"]: suite["tests"] for suite in suites}, left)


def _left(mark: str) -> list[str]:
    """Kill the processes with ``mark`` that don't end by themselves; return their commands."""
    # Processes that end after their parent need a moment for that on a busy computer.
    with contextlib.suppress(AssertionError):
        until(lambda: not marked(mark), within=_GRACE)
    found = marked(mark)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(found.values())
