"""The kit bites: each broken backend fails the clauses that it breaks, and no other."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._clauses import clause_of
from tests.conformance.broken import Fault, load_all
from tests.conformance.kit_runs import Run, run

FAULTS = load_all()
# Runs; each of them keeps a processor busy for two thirds of its time.
AT_ONCE = 3 * (os.cpu_count() or 1) // 2

UNBROKEN = {
    "WIRE-1": "what methods return and raise is up to frames, which are bigmachine's own",
    "WIRE-4": "which call an answer belongs to is up to frames, too",
}
"""The clauses that no backend here breaks, and why."""


class Runs:
    """The runs of the faults that were chosen, some of them ahead of the tests that want them."""

    def __init__(self, faults: list[Fault], folder: Path) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self._running = {fault.name: self._pool.submit(_run, fault, folder) for fault in faults}

    def of(self, fault: Fault) -> Run:
        return self._running[fault.name].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _run(fault: Fault, folder: Path) -> Run:
    folder = folder / fault.name
    folder.mkdir()
    source = (
        f"from tests.conformance.suites import suite_of\nTestBroken = suite_of({fault.name!r})\n"
    )
    return run(folder, source, entry_points=fault.entry_points)


@pytest.fixture(scope="session")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    wanted = [
        item.callspec.params["fault"]
        for item in request.session.items
        if "runs" in getattr(item, "fixturenames", ())
    ]
    runs = Runs(wanted, tmp_path_factory.mktemp("broken"))
    yield runs
    runs.close()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_broken_backend_fails_the_clauses_that_it_breaks_and_no_other(fault: Fault, runs: Runs):
    run = runs.of(fault)
    failed = run.clauses("failed")
    if failed != fault.breaks:
        print(fault.load().__doc__)
        print(run.output)
    assert failed == fault.breaks
    # Without these two most can't be tested, and only then may anything stay untested.
    assert bool(run.blocked) == bool(failed & {"HOOKS-1", "START-1"})
    assert run.clauses("not run") == set()
    assert run.left == []


def test_each_broken_backend_says_its_fault_in_a_sentence():
    assert all((fault.load().__doc__ or "").strip().endswith(".") for fault in _importable())


def test_each_clause_is_broken_by_some_backend_or_it_is_said_why_not():
    clauses = {
        clause.id
        for name in dir(Suite)
        if name.startswith("test_") and (clause := clause_of(Suite, name))
    }
    broken = frozenset().union(*(fault.breaks for fault in FAULTS.values()))
    assert broken <= clauses
    assert clauses - broken == set(UNBROKEN)


def _importable() -> list[Fault]:
    return [fault for fault in FAULTS.values() if fault.module.startswith(__package__)]
