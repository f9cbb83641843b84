"""The report of a run: clause by clause, with a verdict for the core and for each capability."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bigmachine.system import Capability, System
from bigmachine.system._entrypoints import installed_systems

from ._clauses import CONTRACT, Clause, Level, Tier, clause_of

if TYPE_CHECKING:
    import pytest

PASSED, FAILED, SKIPPED, WAIVED, NOT_RUN = "passed", "failed", "skipped", "waived", "not run"

_WIDTH = 100

SuiteClass: TypeAlias = type[Any]  # a subclass of `Suite`, which is not imported here


@dataclass(slots=True)
class Result:
    """One test and its outcome."""

    clause: Clause
    title: str
    outcome: str = NOT_RUN
    reason: str = ""
    seconds: float = 0.0

    @property
    def is_blemish(self) -> bool:
        """Whether its level cannot be called conformant because of it."""
        return self.is_untried or self.outcome in (FAILED, NOT_RUN)

    @property
    def is_untried(self) -> bool:
        """Whether this run skipped it, although it could have been tried."""
        reasons = ("blocked", "tier", "the cost limit")
        return self.outcome == SKIPPED and self.reason.startswith(reasons)

    @property
    def is_missing(self) -> bool:
        """Whether the suite, or what the kit can see, did not suffice to try its MUST."""
        is_skipped = self.outcome == SKIPPED and not self.reason.startswith("capability")
        return is_skipped and not self.is_untried and self.clause.level is Level.MUST


class Report:
    """The results of all suites of one run."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._suites: dict[SuiteClass, dict[str, Result]] = {}
        self._systems: dict[SuiteClass, System] = {}
        self._suite_of: dict[str, SuiteClass] = {}

    def collect(self, nodeid: str, suite: SuiteClass, name: str) -> None:
        """Add a test that is to run."""
        clause = clause_of(suite, name)
        if clause is not None:
            title = name.removeprefix("test_").replace("_", " ")
            self._suites.setdefault(suite, {})[nodeid] = Result(clause, title)
            self._suite_of[nodeid] = suite

    def machine_tests(self) -> dict[SuiteClass, int]:
        """Return how many tests start machines, by suite."""
        return {
            suite: sum(result.clause.tier is not Tier.OFFLINE for result in results.values())
            for suite, results in self._suites.items()
        }

    @property
    def has_run(self) -> bool:
        """Whether at least one test was selected."""
        results = [result for suite in self._suites.values() for result in suite.values()]
        return any(result.outcome != NOT_RUN for result in results)

    def take(self, report: pytest.TestReport, system: System | None) -> None:
        """Add what pytest reports of a test."""
        suite = self._suite_of.get(report.nodeid)
        if suite is None:
            return
        if system is not None:
            self._systems[suite] = system
        result = self._suites[suite][report.nodeid]
        result.seconds += report.duration
        if hasattr(report, "wasxfail"):
            # pytest puts these before the reason of xfail(run=False) and the like.
            reason = str(report.wasxfail).removeprefix("reason: ").removeprefix("[NOTRUN] ")
            if report.passed:
                reason = f"the waiver ({reason}) is no longer needed"
            result.outcome, result.reason = PASSED if report.passed else WAIVED, reason
        elif report.failed:
            result.outcome, result.reason = FAILED, _first_line(report)
        elif report.skipped:
            result.outcome, result.reason = SKIPPED, _skip_reason(report)
        elif report.when == "call":
            result.outcome = PASSED

    def lines(self, *, is_verbose: bool) -> Iterator[str]:
        """Return the report as lines for a terminal."""
        for suite in self._suites:
            told = self._as_dict(suite)
            yield f"{told['system'] or suite.__name__}: contract {CONTRACT}{_dist(told)}"
            yield ""
            for level in told["levels"]:
                counts = ", ".join(f"{n} {what}" for what, n in level["counts"].items() if n)
                yield f"  {level['name']:10}  {level['verdict']:28}  {counts}".rstrip()
            yield ""
            for what in told["not_checked"]:
                yield from textwrap.wrap(
                    f"not checked: {what}", _WIDTH, initial_indent="  ", subsequent_indent="    "
                )
            if told["not_checked"]:
                yield ""
            results = sorted(self._suites[suite].values(), key=_order)
            untried = Counter(result.reason for result in results if result.is_untried)
            for result in results:
                # The counts above suffice for what passed, wasn't chosen or isn't declared.
                is_told = not result.reason or "is not declared" in result.reason
                is_told = is_told and result.outcome != FAILED
                if untried[result.reason] <= 1 and (is_verbose or not is_told):
                    yield from _row(result)
            for reason, count in untried.items():
                if count > 1:
                    yield from _wrapped(f"{count} tests", "", SKIPPED, reason)
            yield ""
        if self.spent:
            yield f"  spent about ${self.spent:.2f}"

    def as_dict(self) -> dict[str, Any]:  # Any: this is JSON
        """Return the report as data for programs."""
        return {
            "contract": CONTRACT,
            "spent": round(self.spent, 2),
            "suites": [self._as_dict(suite) for suite in self._suites],
        }

    def _as_dict(self, suite: SuiteClass) -> dict[str, Any]:
        system = self._systems.get(suite)
        results = sorted(self._suites[suite].values(), key=_order)
        levels = [("core", [r for r in results if r.clause.needs is None])]
        levels += [(str(c), [r for r in results if r.clause.needs is c]) for c in Capability]
        return {
            "suite": suite.__name__,
            "system": system.name if system else None,
            "class": f"{type(system).__module__}:{type(system).__qualname__}" if system else None,
            "dist": _installed(system),
            "capabilities": sorted(map(str, system.capabilities)) if system else [],
            "levels": [
                {
                    "name": name,
                    "verdict": _verdict(name, of_level, system),
                    "counts": {
                        outcome: sum(r.outcome == outcome for r in of_level)
                        for outcome in (PASSED, FAILED, WAIVED, SKIPPED, NOT_RUN)
                    },
                }
                for name, of_level in levels
            ],
            "not_checked": _not_checked(suite, results),
            "tests": [
                {
                    "clause": r.clause.id,
                    "level": str(r.clause.level),
                    "tier": str(r.clause.tier),
                    "capability": str(r.clause.needs) if r.clause.needs else None,
                    **{k: v for k, v in asdict(r).items() if k != "clause"},
                }
                for r in results
            ],
        }


def _verdict(name: str, results: list[Result], system: System | None) -> str:
    if system is not None and name in set(Capability) and name not in system.capabilities:
        return "not declared"
    if any(r.outcome == FAILED for r in results):
        return "NOT CONFORMANT"
    if not results or any(r.is_blemish for r in results):
        return "not proven"
    if any(r.outcome == WAIVED and r.clause.level is Level.MUST for r in results):
        return "with waivers"
    if any(r.is_missing for r in results):
        return "conformant as far as tried"
    return "conformant"


def _not_checked(suite: SuiteClass, results: list[Result]) -> list[str]:
    """Say what this suite leaves open, although no clause failed for it."""
    if any(result.is_blemish for result in results):
        return []  # then more is open than this
    found = []
    missing = [result.clause.id for result in results if result.is_missing]
    if missing:
        found.append(f"{', '.join(missing)}; the reasons are below")
    if suite.leftovers.__qualname__ == "Suite.leftovers":
        found.append(
            "files and other resources that stay behind, since the suite has no `leftovers`. Only "
            "processes and temporary files of this computer are found without it."
        )
    return found


def _row(result: Result) -> list[str]:
    text = result.title + (f": {result.reason}" if result.reason else "")
    return _wrapped(result.clause.id, str(result.clause.level), result.outcome, text)


def _wrapped(what: str, level: str, outcome: str, text: str) -> list[str]:
    head = f"  {what:12} {level:6} {outcome:7}  "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), max_lines=4
    )


def contract_order(clause: Clause) -> tuple[int, str, int]:
    """Return a sort key: the order of the contract."""
    section, _, number = clause.id.rpartition("-")
    return (
        _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS),
        section,
        int(number) if number.isdigit() else 0,
    )


def _order(result: Result) -> tuple[int, str, int]:
    return contract_order(result.clause)


_SECTIONS = (
    "WAIVER",
    "HOOKS",
    "IMPORT",
    "OPTIONS",
    "START",
    "MACHINE",
    "WIRE",
    "IDENTITY",
    "KEEPALIVE",
    "STOP",
    "SHUTDOWN",
    "ORPHAN",
    "FOREIGN",
    "CANCEL",
    "TAIL",
    "READ",
    "CONSOLE",
    "INSTANCES",
)
"""The sections of the contract, in its order."""


def _installed(system: System | None) -> str | None:
    if system is not None:
        for entry in installed_systems():
            if entry.name == system.name:
                return str(entry)
    return None


def _dist(told: dict[str, Any]) -> str:
    return f", {told['dist']}" if told["dist"] else ""


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr)
    return text.strip().partition("\n")[0].removeprefix("AssertionError: ")


def _skip_reason(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")
