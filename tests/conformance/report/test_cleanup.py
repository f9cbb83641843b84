"""Backends can finish their cleanup before the kit kills a driver's leftover processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.kit_runs import run

SUITE = """
from tests.conformance.suites import LocalSuite, Trusting
from tests.conformance.report.cleanup import CleanupSystem

class TestCleanup(LocalSuite, Trusting):
    system_class = CleanupSystem
"""


@pytest.mark.long
def test_backend_may_finish_cleanup_after_driver_is_killed(tmp_path: Path):
    done = run(tmp_path, SUITE, chosen=["-k", "driver_is_silent"])
    assert done.clauses("passed") == {"ORPHAN-3"}, done.output
    assert [*tmp_path.glob("leftover-*")] == []
    assert done.left == []
