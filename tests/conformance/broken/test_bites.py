"""The kit bites: each broken backend fails the clauses that it breaks, and no other."""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._clauses import clause_of
from tests.conformance.broken import Fault, load_all
from tests.conformance.kit_runs import MODULE, Run, run
from tests.conformance.suites import TIMEOUT

FAULTS = load_all()
TESTS = {
    clause.id: name
    for name in dir(Suite)
    if name.startswith("test_") and (clause := clause_of(Suite, name))
}
"""The kit's tests, by their clauses."""
# Processes: each run of the whole kit keeps a processor busy for two thirds of its time, while
# clauses that are broken mostly wait.
AT_ONCE = 3 * (os.cpu_count() or 1) // 2
SHARES = 2 * (os.cpu_count() or 1)
# What is broken fails with any timeout; that what is sound passes is for the whole kit to show.
SHORT_TIMEOUT = 2.0

UNBROKEN = {
    "WIRE-1": "what methods return and raise is up to frames, which are bigmachine's own",
    "WIRE-4": "which call an answer belongs to is up to frames, too",
}
"""The clauses that no backend here breaks, and why."""


@pytest.mark.timeout(600)  # the first of them waits for its whole share of the runs
@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_broken_backend_fails_each_clause_it_breaks(fault: Fault, bites: Runs):
    run = bites.of(fault)
    failed = run.clauses("failed", suite=f"Test{fault.name}")
    if failed != fault.breaks:
        _explain(fault, run)
    assert failed == fault.breaks
    assert run.left == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_broken_backend_fails_no_other_clause(fault: Fault, whole: Runs):
    run = whole.of(fault)
    failed = run.clauses("failed")
    if failed != fault.breaks:
        _explain(fault, run)
    assert failed == fault.breaks
    # Without these two most can't be tested, and only then may anything stay untested.
    assert bool(run.blocked) == bool(failed & {"HOOKS-1", "START-1"})
    assert run.clauses("not run") == set()
    assert run.left == []


def test_each_broken_backend_says_its_fault_in_a_sentence():
    assert all((fault.load().__doc__ or "").strip().endswith(".") for fault in _importable())


def test_each_clause_is_broken_by_some_backend_or_it_is_said_why_not():
    broken = frozenset().union(*(fault.breaks for fault in FAULTS.values()))
    assert broken <= set(TESTS)
    assert set(TESTS) - broken == set(UNBROKEN)


class Runs:
    """Runs of broken backends, several in each, that are begun before the tests that want them."""

    def __init__(self, request: pytest.FixtureRequest, *, at_once: int) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(at_once)
        self._running: dict[str, concurrent.futures.Future[Run]] = {}
        self.faults: list[Fault] = [
            item.callspec.params["fault"]
            for item in request.session.items
            if request.fixturename in getattr(item, "fixturenames", ())
        ]

    def begin(self, faults: Sequence[Fault], run: Callable[[], Run]) -> None:
        running = self._pool.submit(run)
        self._running.update((fault.name, running) for fault in faults)

    def of(self, fault: Fault) -> Run:
        return self._running[fault.name].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def bites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """Each broken backend with the clauses that it breaks, a share of them in each process."""
    runs = Runs(request, at_once=SHARES)
    for number in range(SHARES):
        faults = runs.faults[number::SHARES]
        folder = tmp_path_factory.mktemp("bites")
        runs.begin(faults, functools.partial(_run, faults, folder, chosen=list(_chosen(faults))))
    yield runs
    runs.close()


@pytest.fixture(scope="session")
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """Each broken backend with the whole kit, in a process of its own."""
    runs = Runs(request, at_once=AT_ONCE)
    for fault in runs.faults:
        folder = tmp_path_factory.mktemp(fault.name)
        runs.begin([fault], functools.partial(_run, [fault], folder, chosen=[MODULE]))
    yield runs
    runs.close()


def _run(faults: Sequence[Fault], folder: Path, *, chosen: Sequence[str]) -> Run:
    timeout = TIMEOUT if chosen == [MODULE] else SHORT_TIMEOUT
    source = ["from tests.conformance.suites import suite_of"] + [
        f"Test{fault.name} = suite_of({fault.name!r}, timeout={timeout})" for fault in faults
    ]
    return run(
        folder,
        "\n".join(source),
        entry_points="".join(fault.entry_points for fault in faults),
        chosen=chosen,
    )


def _chosen(faults: Iterable[Fault]) -> Iterator[str]:
    """Yield what chooses the tests of the clauses that each fault breaks."""
    for fault in faults:
        for clause in sorted(fault.breaks):
            yield f"{MODULE}::Test{fault.name}::{TESTS[clause]}"


def _explain(fault: Fault, run: Run) -> None:
    print(fault.load().__doc__)
    print(run.output)


def _importable() -> list[Fault]:
    return [fault for fault in FAULTS.values() if fault.module.startswith(__package__)]
