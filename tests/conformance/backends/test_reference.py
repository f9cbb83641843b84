"""The reference backend passes every clause of the conformance kit, ten times in a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigmachine.system import Capability
from tests.conformance.kit_runs import run

RUNS = 10

NOT_OF_A_CLOUD = {
    "IMPORT-2",  # no distribution provides it
    "MACHINE-5",  # this and the others are about machines that are processes
    "MACHINE-6",
    "IDENTITY-5",
    "KEEPALIVE-5",
    "STOP-5",
    "ORPHAN-3",
    "ORPHAN-4",
    "ORPHAN-5",
}


@pytest.mark.long
@pytest.mark.timeout(600)  # seven seconds a run, and more on a busy computer
def test_correct_backend_passes_ten_times_in_a_row(tmp_path: Path):
    suites = "".join(f"class TestCloud{number}(CloudSuite): pass\n" for number in range(RUNS))
    done = run(tmp_path, f"from tests.conformance.suites import CloudSuite\n{suites}")
    assert len(done.tests) % RUNS == 0
    assert {test["outcome"] for test in done.tests} == {"passed", "skipped", "waived"}, done.output
    assert done.blocked == set()
    assert done.left == []


@pytest.mark.long
def test_no_clause_that_applies_to_clouds_is_skipped(tmp_path: Path):
    done = run(tmp_path, "from tests.conformance.suites import CloudSuite as TestCloud\n")
    untested = {
        test["clause"]
        for test in done.tests
        if test["outcome"] != "passed" and test["capability"] != Capability.TAIL
    }
    assert untested == NOT_OF_A_CLOUD, done.output
