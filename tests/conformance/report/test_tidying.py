"""The kit lets backends put their things away before it kills what is left of a driver."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.kit_runs import run

SUITE = """
from tests.conformance.suites import LocalSuite
from tests.conformance.report.tidying import TidyingSystem

class TestTidying(LocalSuite):
    system_class = TidyingSystem
    options = {"fork": False}
"""


def test_what_is_at_work_when_a_driver_was_killed_may_end_it(tmp_path: Path):
    done = run(tmp_path, SUITE, chosen=["-k", "driver_is_silent"])
    assert done.clauses("passed") == {"ORPHAN-3"}, done.output
    assert [*tmp_path.glob("thing-*")] == []
    assert done.left == []
