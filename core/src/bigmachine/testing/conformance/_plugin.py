"""The kit's pytest plugin: its options, and the report at the end.

It also has what a test's machines print shown as output of that test. pytest loads it in every
environment that has bigmachine. So it imports nothing of bigmachine until a suite is collected.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._budget import Budget
    from ._report import Report

# pytest does so by itself where it finds this plugin, but not where it is named by `-p`.
pytest.register_assert_rewrite("bigmachine.testing.conformance.clauses")

_BUDGET: pytest.StashKey[Budget] = pytest.StashKey()
_REPORT: pytest.StashKey[Report] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the kit's options."""
    group = parser.getgroup("bigmachine conformance")
    add = group.addoption
    add(
        "--conformance-json",
        metavar="FILE",
        help="write the conformance report to FILE as JSON",
    )
    add(
        "--conformance-tier",
        choices=["offline", "local", "live"],
        default="local",
        help="how far to go: `offline` starts no machine; `local`, the default, only machines that "
        "cost nothing; `live` also machines that cost money, up to --conformance-max-cost",
    )
    add(
        "--conformance-max-cost",
        type=float,
        metavar="USD",
        help="the cost limit of tier `live`, in US dollars",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to spend money without a cost limit."""
    is_live = config.option.conformance_tier == "live"
    if is_live != (config.option.conformance_max_cost is not None):
        raise pytest.UsageError("--conformance-tier=live and --conformance-max-cost go together")


def budget_of(config: pytest.Config) -> Budget:
    """Return the budget of this run."""
    from ._budget import Budget
    from ._clauses import Tier

    if _BUDGET not in config.stash:
        options = config.option
        config.stash[_BUDGET] = Budget(
            tier=Tier(options.conformance_tier), max_cost=options.conformance_max_cost or 0.0
        )
    return config.stash[_BUDGET]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests of suites by clause, and prepare the report."""
    suites = [item for item in items if _suite_of(item) is not None]
    if not suites:
        return
    from ._clauses import clause_of
    from ._report import Report, contract_order

    def order(item: pytest.Item) -> Any:
        clause = clause_of(_suite_of(item), _function_name(item))
        return contract_order(clause) if clause else ()

    report = config.stash[_REPORT] = Report()
    begin = 0
    for suite, group in itertools.groupby(list(items), key=_suite_of):
        tests = list(group)
        if suite is not None:
            for item in tests:
                clause = clause_of(suite, _function_name(item))
                if clause is not None:  # so that `-k START-7` selects it
                    item.extra_keyword_matches.add(f"{clause.id}:")
            items[begin : begin + len(tests)] = sorted(tests, key=order)
            for item in tests:
                report.collect(item.nodeid, suite, _function_name(item))
        begin += len(tests)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print what the run may cost, before any machine that costs money is started."""
    report = session.config.stash.get(_REPORT, None)
    if report is None or session.config.option.conformance_tier != "live":
        return
    budget = budget_of(session.config)
    for suite, tests in report.machine_tests().items():
        budget.is_billed, budget.cost_per_hour = True, suite.cost_per_hour
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(
                f"{suite.__name__}: {tests} tests start machines. At "
                f"${suite.cost_per_hour:.2f} per machine and hour, they cost at most "
                f"${budget.estimate(tests):.2f}. The cost limit is ${budget.max_cost:.2f}."
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Add the clause of each test to JUnit reports."""
    suite = _suite_of(item)
    if suite is not None:
        from ._clauses import clause_of

        clause = clause_of(suite, _function_name(item))
        if clause is not None:
            item.user_properties.append(("clause", clause.id))
            item.user_properties.append(("level", str(clause.level)))
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)  # before the output is no longer captured
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Wait a moment for what machines have printed during the test."""
    try:
        return (yield)
    finally:
        cells = sys.modules.get("bigmachine.session._cells")
        if cells is not None:  # a session was opened
            cells.end_test()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the outcome of each test to the report."""
    outcome = yield
    report = item.config.stash.get(_REPORT, None)
    if report is not None and _suite_of(item) is not None:
        system = getattr(item, "funcargs", {}).get("system")
        report.take(outcome, system)
    return outcome


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the report, and write it to a file if one was requested."""
    report = config.stash.get(_REPORT, None)
    if report is None or config.option.collectonly or not report.has_run:
        return
    report.spent = budget_of(config).spent
    terminalreporter.section("conformance")
    for line in report.lines(is_verbose=config.get_verbosity() > 0):
        terminalreporter.write_line(line)
    if config.option.conformance_json:
        text = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
        Path(config.option.conformance_json).write_text(text + "\n", encoding="utf-8")


def _suite_of(item: pytest.Item) -> Any:  # a subclass of Suite, which is not imported here
    cls = getattr(item, "cls", None)
    return (
        cls
        if any(base.__name__ == "Suite" and base.__module__ == _SUITE for base in _mro(cls))
        else None
    )


def _mro(cls: type | None) -> tuple[type, ...]:
    return cls.__mro__ if cls is not None else ()


def _function_name(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", None) or item.name)


_SUITE = f"{__package__}._suite"
