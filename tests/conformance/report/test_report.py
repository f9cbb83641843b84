"""The reports of the kit's pytest plugin, and the runs that it refuses."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from bigmachine.testing import conformance
from bigmachine.testing.conformance._clauses import clause_of
from bigmachine.testing.conformance._report import Report, Result
from tests.conformance.report.running import run_suite

PLAIN = """
class TestPlain(Suite):
    @pytest.fixture
    def system(self):
        return InProcessSystem()
"""


def test_core_and_each_capability_have_separate_verdicts(tmp_path):
    run = run_suite(tmp_path, PLAIN, "-k", "console_of or starts_runs or tail_ends")
    assert run.status == 0, run.output
    assert run.verdict("tail") == "not declared"
    assert run.verdict("core") == "not proven"  # most of it was not run
    assert run.results["CONSOLE-2"] == ("passed", "")
    assert run.results["TAIL-2"] == ("skipped", "capability 'tail' is not declared")
    assert run.results["STOP-1"][0] == "not run"
    lines = [line.split() for line in run.output.splitlines()]
    assert next(line for line in lines if line[:1] == ["tail"])[:3] == ["tail", "not", "declared"]


def test_junit_report_has_clause_and_level(tmp_path):
    run = run_suite(tmp_path, PLAIN, "-k", "starts_runs")
    [case] = ET.fromstring(run.junit).iter("testcase")
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties == {"clause": "START-1", "level": "MUST"}


def test_test_overridden_without_reason_fails_suite(tmp_path):
    source = (
        PLAIN
        + """
    def test_stop_frees_only_the_given_machine(self, kit):
        pass

    test_streams_work_in_both_directions = None
"""
    )
    run = run_suite(tmp_path, source, "-k", "overridden")
    assert run.status == 1
    outcome, reason = run.results["WAIVER-1"]
    assert outcome == "failed"
    assert "(STOP-1)" in reason
    assert "(WIRE-2)" in reason
    assert run.verdict("core") == "NOT CONFORMANT"


@pytest.mark.long
def test_xfail_without_reason_fails_suite(tmp_path):
    source = (
        PLAIN
        + """
    @pytest.mark.xfail
    def test_machine_starts_runs_and_answers(self, kit):
        assert False
"""
    )
    run = run_suite(tmp_path, source, "-k", "overridden")
    assert "(START-1)" in run.results["WAIVER-1"][1]


def test_clause_waived_with_reason_is_reported_as_not_conformant(tmp_path):
    source = (
        PLAIN
        + """
    @pytest.mark.xfail(reason="a test of the report")
    def test_console_of_a_running_machine_is_text(self, kit):
        assert False

    @pytest.mark.xfail(reason="never tried", run=False)
    def test_console_shows_why_a_boot_failed(self, kit):
        assert False
"""
    )
    run = run_suite(tmp_path, source, "-k", "overridden or console")
    assert run.status == 0, run.output
    assert run.results["WAIVER-1"] == ("passed", "")
    assert run.results["CONSOLE-2"] == ("waived", "a test of the report")
    assert run.results["CONSOLE-1"][0] == "waived"
    assert "never tried" in run.results["CONSOLE-1"][1]
    assert run.verdict("console") == "with waivers"
    assert "a test of the report" in run.output


@pytest.mark.long
def test_waiver_of_passing_clause_is_reported(tmp_path):
    source = (
        PLAIN
        + """
    @pytest.mark.xfail(reason="fixed long ago")
    def test_console_of_a_running_machine_is_text(self, kit):
        super().test_console_of_a_running_machine_is_text(kit)
"""
    )
    run = run_suite(tmp_path, source, "-k", "console_of")
    outcome, reason = run.results["CONSOLE-2"]
    assert outcome == "passed"
    assert "fixed long ago" in reason


@pytest.mark.long
def test_invalid_hook_fails_one_clause_and_blocks_others(tmp_path):
    source = """
class Plain(InProcessSystem):
    def stop(self, instance):
        pass

class TestPlain(Suite):
    @pytest.fixture
    def system(self):
        return Plain()
"""
    run = run_suite(tmp_path, source)
    failed = {clause for clause, (outcome, _) in run.results.items() if outcome == "failed"}
    assert failed == {"HOOKS-1"}
    assert "`async def`" in run.results["HOOKS-1"][1]
    assert run.results["START-1"][1].startswith("blocked by HOOKS-1")
    assert run.output.count("blocked by HOOKS-1") == 1


def test_failing_start_fails_one_clause_and_blocks_clauses_with_machines(tmp_path):
    source = """
class Empty(InProcessSystem):
    async def start(self, count, request):
        raise bm.StartError("no capacity")

class TestEmpty(Suite):
    @pytest.fixture
    def system(self):
        return Empty()
"""
    run = run_suite(tmp_path, source, "-k", "starts_runs or unknown_inst or valid_before")
    assert run.results["START-1"][0] == "failed"
    assert "no capacity" in run.results["START-1"][1]
    assert run.results["STOP-3"] == ("skipped", "blocked by START-1: StartError: no capacity")
    assert run.results["HOOKS-3"][0] == "passed"


BILLED = """
class Billed(InProcessSystem):
    is_billed = True

class TestBilled(Suite):
    cost_per_hour = 36.0

    @pytest.fixture
    def system(self):
        return Billed()
"""


@pytest.mark.long
def test_billed_machines_are_not_started_by_default(tmp_path):
    run = run_suite(tmp_path, BILLED, "-k", "starts_runs or valid_before")
    assert run.status == 0
    assert run.results["START-1"][0] == "skipped"
    assert "cost money" in run.results["START-1"][1]
    assert run.results["HOOKS-3"][0] == "passed"
    assert run.verdict("core") == "not proven"


@pytest.mark.long
def test_live_run_needs_cost_limit(tmp_path):
    run = run_suite(tmp_path, BILLED, "--conformance-tier=live")
    assert run.status == 4
    assert "--conformance-max-cost" in run.output


def test_live_run_reports_cost_limit_and_actual_cost(tmp_path):
    run = run_suite(
        tmp_path,
        BILLED,
        "-k",
        "starts_runs",
        "--conformance-tier=live",
        "--conformance-max-cost=50",
    )
    assert run.status == 0, run.output
    assert run.results["START-1"][0] == "passed"
    assert "tests start machines" in run.output
    assert "The cost limit is $50.00" in run.output
    assert run.report["spent"] == pytest.approx(0.6)  # one machine for the least that is charged
    assert "spent about $0.60" in run.output


@pytest.mark.long
def test_live_run_stops_at_cost_limit(tmp_path):
    arguments = ("--conformance-tier=live", "--conformance-max-cost=5.3")
    run = run_suite(tmp_path, BILLED, "-k", "starts_runs or unknown_instances or fewer", *arguments)
    assert run.results["START-1"][0] == "passed"
    outcome, reason = run.results["STOP-3"]
    assert outcome == "skipped"
    assert reason.startswith("the cost limit of $5.30 is reached")
    assert run.verdict("core") == "not proven"


def test_offline_tier_starts_no_machine(tmp_path):
    run = run_suite(
        tmp_path, PLAIN, "-k", "starts_runs or valid_before", "--conformance-tier=offline"
    )
    assert run.results["START-1"] == ("skipped", "tier offline: no machine is started")
    assert run.results["HOOKS-3"][0] == "passed"


@pytest.mark.long
def test_each_suite_of_one_run_is_reported_separately(tmp_path):
    source = PLAIN + BILLED
    run = run_suite(tmp_path, source, "-k", "valid_before_setup")
    assert [suite["suite"] for suite in run.report["suites"]] == ["TestPlain", "TestBilled"]


@pytest.mark.long
def test_other_tests_get_no_report(tmp_path):
    run = run_suite(tmp_path, "def test_nothing():\n    pass\n")
    assert run.status == 0
    assert "conformance" not in run.output
    assert run.report is None


@pytest.mark.long
def test_offline_tier_calls_setup_and_tells_the_rest_in_one_line(tmp_path):
    source = PLAIN + "\n    bad_options = ({'maxprocs': 0},)\n"
    run = run_suite(tmp_path, source, "--conformance-tier=offline", "-v")
    assert run.results["OPTIONS-2"] == ("passed", "")
    assert run.results["OPTIONS-3"] == ("passed", "")
    [_, summary] = run.output.split(" conformance ===")
    assert summary.count("tier offline: no machine is started") == 1
    assert len(summary.splitlines()) < 40


def test_clause_selects_its_test(tmp_path):
    run = run_suite(tmp_path, PLAIN, "-k", "HOOKS-3 or CONSOLE-2")
    ran = {clause for clause, (outcome, _) in run.results.items() if outcome != "not run"}
    assert ran == {"HOOKS-3", "CONSOLE-2"}


@pytest.mark.long
def test_run_without_selected_test_prints_no_report(tmp_path):
    run = run_suite(tmp_path, PLAIN, "-k", "nothing_of_this_name")
    assert run.status == 5
    assert "not run" not in run.output


@pytest.mark.long
def test_misleading_name_is_told_once(tmp_path):
    source = """
class Misspelt(InProcessSystem):
    def tails(self, instance):
        pass

class TestMisspelt(Suite):
    @pytest.fixture
    def system(self):
        return Misspelt()
"""
    run = run_suite(tmp_path, source, "-k", "HOOKS-2", "--tb=short", "-rN")
    assert run.results["HOOKS-2"][0] == "failed"
    for part in run.output.split(" conformance ==="):
        assert " ".join(part.split()).count("did you mean 'tail'") == 1


@pytest.mark.long
def test_import_of_class_in_test_file_is_not_measured(tmp_path):
    source = PLAIN.replace("InProcessSystem()", "Own()") + "\nclass Own(InProcessSystem): pass\n"
    run = run_suite(tmp_path, source, "-k", "IMPORT-1")
    outcome, reason = run.results["IMPORT-1"]
    assert (outcome, reason.partition(",")[0]) == ("skipped", "the class is in a test file")


@pytest.mark.parametrize(
    ("outcome", "reason", "verdict"),
    [
        ("passed", "", "conformant"),
        ("skipped", "the suite sets no `bad_options`", "conformant as far as tried"),
        ("skipped", "blocked by START-1: no capacity", "not proven"),
        ("waived", "it cannot be met", "with waivers"),
        ("failed", "it blocks", "NOT CONFORMANT"),
    ],
)
def test_verdict_says_whether_every_clause_was_tried(outcome, reason, verdict):
    report = _report_of(conformance.Suite)
    chosen = report._suites[conformance.Suite][
        "test_bad_option_is_refused_before_anything_is_created"
    ]
    chosen.outcome, chosen.reason = outcome, reason
    [told] = report.as_dict()["suites"]
    assert told["levels"][0]["verdict"] == verdict
    is_told = any("OPTIONS-3" in what for what in told["not_checked"])
    assert is_told == (verdict == "conformant as far as tried")


@pytest.mark.parametrize("has_leftovers", [False, True])
def test_report_says_if_suite_cannot_see_what_stays_behind(has_leftovers):
    own = {"leftovers": lambda self: ()} if has_leftovers else {}
    report = _report_of(type("TestPlain", (conformance.Suite,), own))
    told = " ".join(report.lines(is_verbose=False))
    assert ("not checked: files and other resources" in told) != has_leftovers


def _report_of(suite):
    """Return a report on which all tests of ``suite`` have passed."""
    report = Report()
    report._suites[suite] = {
        name: Result(clause_of(suite, name), name, "passed")
        for name in dir(suite)
        if name.startswith("test_")
    }
    return report
