"""What machines print and what bigmachine logs, as it arrives at a driver's standard error."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

import bigmachine as bm
from tests.support.waiting import until

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO)
import bigmachine as bm

class Talker:
    def chat(self, lines):
        for _ in range(lines):
            print("x" * 1000)
        return lines

with bm.Session("local") as session:
    [machine] = session.start(1, services={"Talker": Talker()})
    print(machine.call("Talker.chat", 6_000), flush=True)
    print(machine.call("Talker.chat", 0), flush=True)
"""


def close_stderr() -> None:
    os.close(2)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "preexec",
    [pytest.param(None, marks=pytest.mark.long), close_stderr],
    ids=["nobody reads it", "it is closed"],
)
def test_program_ends_as_usual_whatever_its_stderr_is(preexec: Callable[[], None] | None):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # nobody reads it
        preexec_fn=preexec,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"6000\n0\n"
        assert process.wait() == 0


def test_log_tells_what_happens_in_plain_sentences_and_nothing_else(caplog):
    class Greeter:
        def greet(self):
            logging.getLogger("app").info("a call")
            return "hello"

    with caplog.at_level(logging.INFO), bm.Session("local", name="Ada") as session:
        name = session.name.partition(".")[0]
        for machine in session.start(2, services={"Greeter": Greeter()}):
            machine.call("Greeter.greet")
        machine.cancel()
    lines = [
        (r.name.removeprefix("bigmachine."), r.levelname, r.getMessage()) for r in caplog.records
    ]
    assert lines[:2] == [
        ("session", "INFO", f"session {name} is open on local"),
        ("session", "INFO", "2 machines are requested"),
    ]
    running = sorted(text for _, _, text in lines[2:4])
    assert [text.partition(",")[0] for text in running] == ["m0 is running", "m1 is running"]
    greeted = ("app", "INFO", "m0: a call"), ("app", "INFO", "m1: a call")
    assert sorted(line for line in lines if line[0] == "app") == [*greeted]
    lines = [line for line in lines if line[0] != "app"]
    assert sorted(lines[4:6], key=lambda line: line[2]) == [
        ("machine", "INFO", "m0 stopped: it was shut down"),
        ("machine", "INFO", "m1 stopped: it was cancelled"),
    ]
    assert lines[6:] == [("session", "INFO", f"session {name} is closed")]


class Worker:
    def show(self, text):
        sys.stderr.write(text)
        sys.stderr.flush()

    def print_any_character(self):
        print("→ é 🙂 \udc80")
        print("\x1b]0;title\x07\x1b[2Jm1: hello\rm1: forged")
        os.write(1, b"\xff\n")

    def warn(self):
        for _ in range(3):
            warnings.warn("careful", stacklevel=1)
        logging.getLogger("app").warning("a warning")
        logging.getLogger("app").info("only if the driver wants it")


class CallingStream(io.StringIO):
    """A stream that calls a machine whenever something is written to it."""

    call: Callable[[], object]

    def write(self, text: str) -> int:
        self.call()
        return super().write(text)


def test_progress_characters_and_warnings_of_machine_are_shown_after_its_name(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])  # as if pytest had not configured it
    with contextlib.redirect_stderr(CallingStream()) as stderr, bm.Session("local") as session:
        [machine] = session.start(1, services={"Worker": Worker()}, environ={"LC_ALL": "C"})
        stderr.call = lambda: machine.call("Worker.show", "")
        for step in ("  0%|    |", " 50%|##  |", "100%|####|"):
            machine.call("Worker.show", f"\r{step}")
            until(lambda step=step: f"m0: {step}\n" in stderr.getvalue())
        machine.call("Worker.show", "\n")
        machine.call("Worker.print_any_character")
        machine.call("Worker.warn")
        until(lambda: "a warning" in stderr.getvalue())
    lines = stderr.getvalue().splitlines()
    assert lines[:6] == [
        "m0:   0%|    |",
        "m0:  50%|##  |",
        "m0: 100%|####|",
        r"m0: → é 🙂 \udc80",
        "m0: m1: forged",
        r"m0: \xff",
    ]
    assert sum("UserWarning: careful" in line for line in lines) == 1
    assert lines[-1] == "m0: a warning"


TESTS = """
import pytest, bigmachine as bm
from bigmachine.session import _async

_async._CATCH_UP_SECONDS = 60.0  # longer than a busy computer takes

class Printer:
    def run(self, text):
        for _ in range(50):
            print(text)

@pytest.fixture(scope="module")
def machine():
    with bm.Session("local") as session:
        yield session.start(1, services={"Printer": Printer()})[0]

def test_one(machine):
    machine.call("Printer.run", "first")
    raise ValueError

def test_two(machine):
    machine.call("Printer.run", "second")
    raise ValueError
"""


@pytest.mark.long
def test_pytest_shows_what_machines_print_with_the_test_that_called(tmp_path):
    (tmp_path / "test_machines.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    _, one, two = done.stdout.split(" Captured stderr call ")
    assert (one.count("m0: first\n"), two.count("m0: second\n")) == (50, 50)
    assert "m0: " not in done.stderr
