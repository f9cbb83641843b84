"""``bigmachine logs``: what machines print, now and as it comes."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import bigmachine as bm
from bigmachine.cli import main
from tests.support.waiting import until


class Talker:
    def say(self, text: str) -> None:
        print(text, flush=True)


@pytest.fixture(scope="module")
def session():
    with bm.Session("local", maxprocs=1, debug=False) as session:
        yield session


@pytest.fixture(scope="module")
def machines(session):
    machines = session.start(2, services={"Talker": Talker()})
    for machine in machines:
        machine.call("Talker.say", f"I am {machine.name} é")
    return machines


def test_logs_of_all_begin_with_a_name_and_those_of_one_do_not(machines, capsys):
    def shown(*arguments: str) -> str:
        assert main(["logs", *arguments]) == 0
        return capsys.readouterr().out

    until(lambda: shown().count("I am m") == 2)
    assert sorted(line.split()[0].strip(":") for line in shown().splitlines()) == ["m0", "m1"]
    assert shown("m1") == "I am m1 é\n"


def test_followed_logs_come_line_by_line_and_end_with_the_machine(machines):
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "logs", "-f", "m0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(100, process.kill)
        watchdog.start()
        assert process.stdout.readline() == "I am m0 é\n"
        machines[0].call("Talker.say", "more")
        assert process.stdout.readline() == "more\n"
        machines[0].cancel()
        assert process.stdout.read() == ""
        assert process.wait() == 0
        watchdog.cancel()


def test_unknown_machine_is_one_line(machines, capsys):
    assert main(["logs", "m7"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bigmachine: ")
    assert "m7" in error
    assert error.count("\n") == 1
