"""The kit detects each broken backend: it fails the clauses that it breaks, and no other."""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._clauses import Tier, clause_of
from tests.conformance.broken import Fault, load_all
from tests.conformance.kit_runs import MODULE, Run, run
from tests.conformance.suites import TIMEOUT

FAULTS = load_all()
TESTS = {
    clause.id: name
    for name in dir(Suite)
    if name.startswith("test_") and (clause := clause_of(Suite, name))
}
"""The kit's tests by clause."""
OFFLINE = {
    clause.id
    for name in TESTS.values()
    if (clause := clause_of(Suite, name)) and clause.tier is Tier.OFFLINE
}
# Numbers of processes. A run of the whole kit uses a processor two thirds of the time; tests of
# broken clauses mostly wait.
AT_ONCE = 2 * (os.cpu_count() or 1)
SHARES = 3 * (os.cpu_count() or 1) // 2
# Broken clauses fail with any timeout. Only runs of the whole kit must pass the other clauses.
SHORT_TIMEOUT = 2.0


def _quick_ones() -> list[Fault]:
    """Return faults that break clauses which are tested without machines, each clause once."""
    chosen: list[Fault] = []
    broken: set[str] = set()
    for fault in FAULTS.values():
        if fault.breaks <= OFFLINE - broken and fault.name != "HeavyImport":  # 15 s
            chosen.append(fault)
            broken |= fault.breaks
    return chosen


UNBROKEN = {
    "WIRE-1": "results and exceptions are encoded by bigmachine itself, not by backends",
    "WIRE-4": "responses are matched to calls by bigmachine itself, not by backends",
}
"""The clauses that no broken backend breaks, and why."""

THIRD = os.environ.get("CONFORMANCE_THIRD", "")
"""Which third of the broken backends the whole kit is run on, 0 to 2; "" for all.

A run takes ten seconds of a processor, so that CI takes another third each day.
"""

BLOCKING = {"HOOKS-1", "OPTIONS-2", "START-1", "START-12", "START-13"}
_DEFAULT = _quick_ones()


@pytest.mark.timeout(600)  # the first test waits until its whole share of the runs has ended
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault in _DEFAULT else pytest.mark.long)
        for fault in FAULTS.values()
    ],
    ids=lambda fault: fault.name,
)
def test_broken_backend_fails_each_clause_it_breaks(fault: Fault, bites: Runs):
    run = bites.of(fault)
    reasons = run.reasons(f"Test{fault.name}")
    if set(reasons) != fault.breaks:
        _explain(fault, run)
    assert set(reasons) == fault.breaks
    for clause, words in fault.reasons.items():
        assert words in reasons[clause]
    assert run.left == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "fault",
    [*FAULTS.values()][int(THIRD) :: 3] if THIRD else FAULTS.values(),
    ids=lambda fault: fault.name,
)
def test_broken_backend_fails_no_other_clause(fault: Fault, whole: Runs):
    run = whole.of(fault)
    failed = run.clauses("failed")
    if failed != fault.breaks:
        _explain(fault, run)
    assert failed == fault.breaks
    # If one of these fails, most clauses may not be tested; otherwise all must be tested.
    assert not run.blocked or failed & BLOCKING
    assert run.clauses("not run") == set()
    assert run.left == []


def test_docstring_of_each_broken_backend_is_one_sentence():
    assert all((fault.load().__doc__ or "").strip().endswith(".") for fault in _importable())


def test_each_clause_has_broken_backend_or_documented_reason():
    broken = frozenset().union(*(fault.breaks for fault in FAULTS.values()))
    assert broken <= set(TESTS)
    assert set(TESTS) - broken == set(UNBROKEN)


class Runs:
    """Runs of the kit, each with several broken backends, which begin before the first test."""

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
    """Runs each broken backend with the clauses that it breaks; a process has a share of them."""
    runs = Runs(request, at_once=SHARES)
    # To start pytest again takes longer than to run the quick ones, which wait for no machine.
    shares = SHARES if len(runs.faults) > len(_DEFAULT) else 1
    for number in range(shares):
        faults = runs.faults[number::shares]
        folder = tmp_path_factory.mktemp("bites")
        runs.begin(faults, functools.partial(_run, faults, folder, chosen=list(_chosen(faults))))
    yield runs
    runs.close()


@pytest.fixture(scope="session")
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """Runs each broken backend with the whole kit, each in a process of its own."""
    runs = Runs(request, at_once=AT_ONCE)
    for fault in runs.faults:
        folder = tmp_path_factory.mktemp(fault.name)
        runs.begin([fault], functools.partial(_run, [fault], folder, chosen=[MODULE]))
    yield runs
    runs.close()


def _run(faults: Sequence[Fault], folder: Path, *, chosen: Sequence[str]) -> Run:
    is_whole = chosen == [MODULE]
    settings = f"timeout={TIMEOUT if is_whole else SHORT_TIMEOUT}, {is_whole=}"
    source = ["from tests.conformance.suites import suite_of"] + [
        f"Test{fault.name} = suite_of({fault.name!r}, {settings})" for fault in faults
    ]
    return run(
        folder,
        "\n".join(source),
        entry_points="".join(fault.entry_points for fault in faults),
        chosen=chosen,
    )


def _chosen(faults: Iterable[Fault]) -> Iterator[str]:
    """Yield the pytest arguments that select the tests of the clauses that each fault breaks."""
    for fault in faults:
        for clause in sorted(fault.breaks):
            yield f"{MODULE}::Test{fault.name}::{TESTS[clause]}"


def _explain(fault: Fault, run: Run) -> None:
    print(fault.load().__doc__)
    print(run.output)


def _importable() -> list[Fault]:
    return [fault for fault in FAULTS.values() if fault.module.startswith(__package__)]
