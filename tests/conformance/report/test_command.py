"""The command ``bigmachine conformance``."""

from __future__ import annotations

import sys

import pytest

from bigmachine.cli import main
from bigmachine.system._installation import install_command
from tests.conformance.report.running import run_command
from tests.conftest import Install


def test_command_runs_suite_on_installed_system_with_options(tmp_path):
    done = run_command(
        tmp_path,
        "local",
        *("-o", "maxprocs=4096", "--bad-option", "port=-1", "--json", "report.json"),
        *("--junit", "junit.xml", "-k", "OPTIONS-3 or MACHINE-1 or starts_runs"),
    )
    assert done.results["OPTIONS-3"] == ("passed", "")
    assert done.results["START-1"] == ("passed", "")
    assert done.report["suites"][0]["dist"].startswith("bigmachine-local ")
    assert 'value="START-1"' in done.junit
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.json"]
    # More processors than any machine has.
    assert done.results["MACHINE-1"][1].startswith("maxprocs is 4096")
    assert done.status == 1
    assert "MACHINE-1" in done.output


OWN = """
from bigmachine.testing import InProcessSystem

class Group:
    class Own(InProcessSystem):
        pass

text = "no class"
"""


def test_command_takes_class_of_current_folder_and_exact_clause(tmp_path):
    (tmp_path / "own_backend.py").write_text(OWN)
    arguments = ("-k", "START-1", "--json", "report.json")
    done = run_command(tmp_path, "own_backend:Group.Own", *arguments)
    assert done.status == 0, done.output
    assert done.report["suites"][0]["suite"] == "TestGroupOwn"
    ran = {clause for clause, (outcome, _) in done.results.items() if outcome != "not run"}
    assert ran == {"START-1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["local", "-o", "maxprocs=0"], "maxprocs: must be at least 1"),
        (["local", "--tier=offline", "-k", "no_such_test"], "selects no test"),
        pytest.param(
            ["local", "--tier=offline", "-k", "START-1 or"],
            "Wrong expression",
            marks=pytest.mark.long,
        ),
        pytest.param(["own_backend:Missing"], "has no attribute 'Missing'", marks=pytest.mark.long),
        (["own_backend:text"], "not a subclass of bigmachine.System"),
        (["no_such_module:Own"], "No module named 'no_such_module'"),
    ],
)
def test_wrong_argument_is_usage_error(tmp_path, arguments, words):
    (tmp_path / "own_backend.py").write_text(OWN)
    done = run_command(tmp_path, *arguments)
    assert done.status == 2
    assert words in done.output
    assert "NOT CONFORMANT" not in done.output


BROKEN = """
from bigmachine.testing import InProcessSystem

class Misspelt(InProcessSystem):
    name = "misspelt"

    async def stop(self, machine):
        pass

class FailsInConstructor(InProcessSystem):
    name = "failing"

    def __init__(self, options=None):
        raise KeyError("home")
"""
ENTRY_POINTS = """
[bigmachine.systems]
misspelt = broken_backend:Misspelt
failing = broken_backend:FailsInConstructor
missing = broken_backend:Missing
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("misspelt", "hook 'stop' has no argument 'machine'"),
        ("failing", "system 'failing' cannot be created: KeyError: 'home'"),
        ("missing", "no attribute 'Missing'"),
    ],
)
def test_single_message_says_why_no_test_can_run(install: Install, capsys, name, words):
    install("broken-backend", ENTRY_POINTS, broken_backend=BROKEN)
    assert main(["conformance", name]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("bigmachine: no test can run: ")
    assert words in output.err


def test_unknown_system_is_refused_before_anything_runs(capsys):
    assert main(["conformance", "locla"]) == 2
    assert "did you mean 'local'" in capsys.readouterr().err


def test_unknown_option_is_refused_before_anything_runs(capsys):
    assert main(["conformance", "local", "-o", "maxproc=1"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'maxprocs'" in error
    assert "on the command line" in error


def test_option_without_value_is_refused(capsys):
    assert main(["conformance", "local", "-o", "maxprocs"]) == 2
    assert "key=value" in capsys.readouterr().err


def test_error_says_how_to_install_missing_pytest(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    assert main(["conformance", "local"]) == 2
    assert install_command("testing") in capsys.readouterr().err


def test_live_tier_without_cost_limit_is_refused(capsys):
    assert main(["conformance", "local", "--tier", "live"]) == 2
    assert "--max-cost" in capsys.readouterr().err


def test_help_names_every_argument(capsys):
    with pytest.raises(SystemExit):
        main(["conformance", "--help"])
    text = capsys.readouterr().out
    for argument in ("--option", "--bad-option", "--json", "--junit", "--tier", "--max-cost"):
        assert argument in text
