"""The command ``bigmachine conformance``."""

from __future__ import annotations

import sys

import pytest

from bigmachine.cli import main
from tests.conformance.report.running import run
from tests.conftest import Install


def bigmachine(folder, *arguments):
    program = "import sys; from bigmachine.cli import main; sys.exit(main())"
    return run(folder, [sys.executable, "-c", program, "conformance", *arguments])


def test_command_runs_suite_on_installed_system_with_options(tmp_path):
    done = bigmachine(
        tmp_path,
        "local",
        *("-o", "maxprocs=2", "--bad-option", "port=-1", "--json", "report.json"),
        *("--junit", "junit.xml", "-k", "refused or maxprocs or starts_runs"),
    )
    assert done.status == 0, done.output
    assert done.results["OPTIONS-3"] == ("passed", "")
    assert done.results["MACHINE-1"] == ("passed", "")
    assert done.report["suites"][0]["dist"].startswith("bigmachine-local ")
    assert 'value="START-1"' in done.junit
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.json"]


def test_exit_status_is_1_if_clause_fails(tmp_path):
    # More processors than any machine has.
    done = bigmachine(tmp_path, "local", "-o", "maxprocs=4096", "-k", "maxprocs")
    assert done.status == 1
    assert "MACHINE-1" in done.output
    assert "maxprocs is 4096" in done.output


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
    assert 'pip install "bigmachine[testing]"' in capsys.readouterr().err


def test_live_tier_without_cost_limit_is_refused(capsys):
    assert main(["conformance", "local", "--tier", "live"]) == 2
    assert "--max-cost" in capsys.readouterr().err


def test_help_names_every_argument(capsys):
    with pytest.raises(SystemExit):
        main(["conformance", "--help"])
    text = capsys.readouterr().out
    for argument in ("--option", "--bad-option", "--json", "--junit", "--tier", "--max-cost"):
        assert argument in text
