"""``bigmachine check`` shows a system's answers; by default, those of its setup."""

from __future__ import annotations

import json

import pytest

from bigmachine.cli import main

PICKY = """
import bigmachine as bm
from bigmachine.system import CheckedRequest, CheckReport, System, Verdict

class Picky(System):
    name = "picky"
    closed = False
    async def start(self, count): ...
    async def check(self):
        requests = [
            CheckedRequest("make", Verdict.{verdict}, "No,\\x1b[2J never.", is_needed={is_needed}),
            CheckedRequest("look", Verdict.OK),
        ]
        return CheckReport(requests, advice="Ask\\nfor it.")
    async def shutdown(self):
        print("shut down")
"""


def test_check_is_the_setup_by_default(resources, capsys):
    assert main(["check", "shelf"]) == 0
    assert capsys.readouterr().out.startswith("ok  setup\n\nSessions would work, ")


def test_setup_that_fails_is_the_answer(install, capsys):
    source = PICKY.partition("    async def check")[0]
    setup = "    async def setup(self): raise bm.StartError('no account')\n"
    install("picky", "[bigmachine.systems]\npicky = picky:Picky", picky=source + setup)
    assert main(["check", "picky", "--json"]) == 1
    [request] = json.loads(capsys.readouterr().out)["requests"]
    assert (request["verdict"], request["detail"]) == ("refused", "no account")
    assert main(["check", "picky"]) == 1
    end = "\n\nSessions would fail in their setup; nothing else was tried.\n"
    assert capsys.readouterr().out.endswith(end)


@pytest.mark.parametrize(
    ("verdict", "is_needed", "status", "end"),
    [
        ("DENIED", True, 1, "Sessions would fail at 1 request of 2."),
        ("REFUSED", True, 1, "Sessions would fail at 1 request of 2."),
        ("DENIED", False, 0, "Sessions would work, as far as can be told without one."),
        ("UNKNOWN", True, 0, "Sessions would work, as far as can be told without one."),
    ],
)
def test_status_says_whether_sessions_would_fail(install, capsys, verdict, is_needed, status, end):
    source = PICKY.replace("{verdict}", verdict).replace("{is_needed}", str(is_needed))
    install("picky", "[bigmachine.systems]\npicky = picky:Picky", picky=source)
    assert main(["check", "picky"]) == status
    word = verdict.lower()
    assert capsys.readouterr().out == (
        f"shut down\n{word:{len(word)}}  make\n         No, never.\n"
        f"{'ok':{len(word)}}  look\n\nAsk\nfor it.\n\n{end}\n"
    )


def test_commands_of_an_answer_are_not_broken_over_lines(install, capsys):
    command = "`cloud auth login --for-region=somewhere-far-away --and-project=mine`"
    source = PICKY.partition("    async def check")[0]
    setup = (
        f"    async def setup(self): raise bm.StartError('no account: run {command}, and wait')\n"
    )
    install("picky", "[bigmachine.systems]\npicky = picky:Picky", picky=source + setup)
    assert main(["check", "picky"]) == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:4] == ["no account: run", f"{command},", "and wait"]


@pytest.mark.parametrize("command", ["check", "ps", "reap"])
def test_option_given_twice_is_an_error(capsys, command):
    assert main([command, "shelf", "-o", "zones=a", "-o", "zones=b"]) == 2
    error = capsys.readouterr().err
    assert "'zones' is given twice; several values are written zones=a,b" in error


def test_unknown_system_is_a_usage_error(capsys):
    assert main(["check", "nosuch"]) == 2
    assert "no system 'nosuch'" in capsys.readouterr().err
