"""``bigmachine top``: what it shows, and how it behaves on a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pyte
import pytest

import bigmachine as bm
from bigmachine.cli import _top, main
from bigmachine.cli._top_columns import MACHINE_COLUMNS
from bigmachine.cli._top_view import Look, draw
from bigmachine.debug import _measures
from bigmachine.debug._status import MachineStatus, MethodStatus, SessionStatus
from bigmachine.testing import InProcessSystem
from tests.support.waiting import until

PATIENCE = 60.0


class Echo:
    def echo(self, value: int) -> int:
        return value


@pytest.fixture(scope="module")
def session():
    with bm.Session(InProcessSystem(), name="shown", debug=False) as session:
        machines = session.start(4, services={"Echo": Echo()})
        for machine in machines[:3]:
            machine.call("Echo.echo", 1)
        machines[3].cancel()
        machines[3].wait(bm.State.STOPPED)
        yield session


def machine(name: str, **more) -> MachineStatus:
    measures = {"maxprocs": 4, "cpus": 2.0, "memory_used": 0.5, "load": 1.0, "call_seconds": 0.02}
    measures |= {"calls_per_second": 12.0, "calls_in_flight": 3.0, "addr": "10.0.0.4:443"}
    return MachineStatus(name, more.pop("state", "running"), **measures | more)


def status(*machines: MachineStatus, methods=(), **more) -> dict:
    known = {"name": "train-0123abcd.bigmachine", "system": "ec2", "pid": 4711, "age": 750.0}
    known |= {"program": "train.py", "cost": "about $0.17", "cost_per_hour": 0.85}
    found = SessionStatus(machines=list(machines), methods=list(methods), **known | more)
    return json.loads(json.dumps(dataclasses.asdict(found)))


# -- what it shows --------------------------------------------------------------------


@pytest.fixture
def _patient(monkeypatch):
    """Wait for all that machines measure, however long they take on a busy computer."""
    monkeypatch.setattr(_measures, "_FIRST_SECONDS", PATIENCE)
    monkeypatch.setattr(_top, "_MEASURED_SECONDS", PATIENCE)


@pytest.mark.usefixtures("_patient")
def test_top_shows_session_machines_and_methods_as_one_table_in_a_pipe(session, capsys):
    assert main(["top", "--session", "shown"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert re.search(r"^shown-\w+  on in-process, open for ", out)
    assert "3 running, 1 stopped; CPU " in out
    assert re.search(r"^m0 +running .*%", out, re.M)
    assert re.search(r"^m3 +stopped +it was cancelled$", out, re.M)
    assert re.search(r"^Echo\.echo .* 3$", out, re.M)


@pytest.mark.usefixtures("_patient")
def test_top_prints_json_with_rates(session, capsys):
    assert main(["top", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == session.name
    running = [one for one in shown["machines"] if one["state"] == "running"]
    assert [one["calls_per_second"] is not None for one in running] == [True] * 3


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 132, 200])
@pytest.mark.parametrize("rows", [6, 24])
def test_lines_fit_any_terminal(columns, rows):
    machines = [
        machine(f"m{n}", zone="europe-west4-a", kind="c7i.48xlarge spot") for n in range(30)
    ]
    machines += [machine("m30", state="stopped", error="killed " * 40)]
    method = MethodStatus("A" * 60 + ".sample", 1234567, 3, 5, 12345.6, 0.1, 2.5)
    lines = draw(status(*machines, methods=[method] * 9), Look(columns, rows), footer="q quit")
    assert len(lines) == rows
    assert max(map(len, lines)) < columns
    assert any(line.startswith("m0 ") for line in lines)


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 3), (10, 4), (30, 2)])
def test_tiny_terminal_is_no_error(columns, rows):
    lines = draw(status(machine("m0")), Look(columns, rows), footer="q quit")
    assert len(lines) == rows
    assert max(map(len, lines)) < max(columns, 1)


def test_columns_that_matter_least_give_way_in_a_narrow_terminal():
    one = status(machine("m0", zone="us-east-1a", disk_used=0.25))
    wide, narrow = ("\n".join(draw(one, Look(columns))) for columns in (160, 60))
    assert "us-east-1a" in wide
    assert "DISK" in wide
    assert "us-east-1a" not in narrow
    assert "CPU" in narrow
    assert "████░░░░  50%" in narrow
    assert "GPU" not in wide
    of_gpu = draw(status(machine("m0", gpus=2, gpu_used=0.75, gpu_memory_used=0.31)), Look(120))
    assert "GPU   GPU MEM" in "\n".join(of_gpu)
    assert "██████░░  75%       31%" in "\n".join(of_gpu)


def test_machines_are_sorted_by_any_column_and_stopped_ones_come_last():
    machines = [
        machine("m2", cpus=1.0),
        machine("m10", cpus=3.0, state="stopped"),
        machine("m0", cpus=None),
        machine("m1", cpus=2.0),
    ]
    cpu = [column.title for column in MACHINE_COLUMNS].index("CPU")

    def order(**look) -> list[str]:
        lines = draw(status(*machines), Look(120, **look))
        return [line.split()[0] for line in lines if re.match(r"m\d", line)]

    assert order() == ["m0", "m1", "m2", "m10"]
    assert order(sort=cpu) == ["m1", "m2", "m0", "m10"]
    assert order(sort=cpu, is_reversed=True) == ["m2", "m1", "m0", "m10"]
    for sort in range(len(MACHINE_COLUMNS)):
        assert set(order(sort=sort)) == {"m0", "m1", "m2", "m10"}


def test_machine_that_does_not_run_says_why_and_one_that_is_full_stands_out():
    machines = [
        machine("m0", state="booting", boot_phase="upload", boot_done=1 << 20, boot_total=4 << 20),
        machine("m1", state="stopped", error="killed by signal 9 (SIGKILL)"),
        machine("m2", is_healthy=False, memory_used=0.97),
        machine("m3", is_silent=True, silent_for=12.0),
    ]
    lines = "\n".join(draw(status(*machines), Look(120, has_colors=True)))
    assert "upload 1.0 MiB of 4.0 MiB" in lines
    assert "\x1b[31mkilled by signal 9 (SIGKILL)\x1b[m" in lines
    assert "\x1b[31m████████  97%\x1b[m" in lines
    assert "memory nearly full" in lines
    assert "silent: its last reply came 12 s ago" in lines


def test_machine_whose_calls_are_slow_stands_out():
    machines = [machine(f"m{n}", call_seconds=0.02, reply_time=0.001) for n in range(4)]
    slow = machine("m4", call_seconds=0.05, reply_time=0.2)
    lines = draw(status(*machines, slow), Look(120))
    at = next(at for at, line in enumerate(lines) if line.startswith("m4 "))
    assert lines[at + 1].strip() == "slow to reply; slow calls"
    assert "slow" not in "\n".join(lines[:at])
    assert "slow" not in "\n".join(draw(status(*machines), Look(120)))


def test_what_has_no_room_is_counted_and_can_be_scrolled_to():
    many = status(*(machine(f"m{n}") for n in range(100)))
    assert "and 83 more" in draw(many, Look(100, 24))[-2]
    scrolled = "\n".join(draw(many, Look(100, 24, skip=99)))
    assert "m99 " in scrolled
    assert "m50 " not in scrolled


# -- on a terminal --------------------------------------------------------------------


class Screen:
    """A program on a terminal of its own: what it shows, and keys to press."""

    def __init__(self, *command: str) -> None:
        self._controller, terminal = os.openpty()
        self.resize(24, 100)
        self._screen = pyte.Screen(100, 24)
        self._parser = pyte.ByteStream(self._screen)
        self.raw = b""
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )
        self._terminal = terminal

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, size)

    def press(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    @property
    def modes(self) -> list:
        return termios.tcgetattr(self._terminal)[:4]

    def until(self, is_true: Callable[[str], object]) -> str:
        """Return what it shows once that is true of it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            text = "\n".join(line.rstrip() for line in self._screen.display)
            if is_true(text):
                return text
            assert time.monotonic() < deadline, text
            if select.select([self._controller], [], [], 0.1)[0]:
                data = os.read(self._controller, 1 << 16)
                self.raw += data
                self._parser.feed(data)

    def end(self) -> str:
        """Wait for its end; return all that it wrote."""
        self.until(lambda _: self.process.poll() is not None)
        while select.select([self._controller], [], [], 0)[0]:
            self.raw += os.read(self._controller, 1 << 16)
        return self.raw.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._controller)
        os.close(self._terminal)


@pytest.fixture
def top() -> Iterator[Screen]:
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    with contextlib.closing(Screen(sys.executable, "-c", code, "top")) as screen:
        yield screen


@pytest.mark.long
def test_top_is_live_follows_keys_and_size_and_leaves_the_terminal_as_it_was(session, top):
    before = top.modes
    top.until(lambda text: re.search(r"^m0 +running .*%", text, re.M))
    assert top.modes != before
    top.press(">")
    top.until(lambda text: "STATE▴" in text)
    top.press("r")
    top.until(lambda text: "STATE▾" in text)
    top.press("\x1b[D")
    top.until(lambda text: "MACHINE▴" in text)
    session.machines[0].call("Echo.echo", 1)
    top.until(lambda text: re.search(r"^Echo\.echo .* 4$", text, re.M))
    top.resize(24, 50)
    top.until(lambda text: "LOAD" not in text)
    top.press("q")
    assert top.end().endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert top.process.returncode == 0
    assert top.modes == before


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_top_and_leaves_the_terminal_as_it_was(session, top, number):
    before = top.modes
    top.until(lambda text: "MACHINE" in text)
    top.process.send_signal(number)
    assert top.end().endswith("\x1b[?1049l")
    assert top.process.returncode == (0 if number == signal.SIGINT else 143)
    assert top.modes == before


@pytest.mark.long
def test_terminal_is_the_shells_while_top_is_suspended(session, top):
    before = top.modes
    top.until(lambda text: "MACHINE" in text)
    top.process.send_signal(signal.SIGTSTP)
    until(lambda: top.modes == before)
    top.process.send_signal(signal.SIGCONT)
    until(lambda: top.modes != before)
    top.until(lambda text: "MACHINE" in text)
    top.press("q")
    assert top.end().endswith("\x1b[?1049l")
    assert top.modes == before


@pytest.mark.long
def test_top_ends_with_its_session(session, top):  # the last test: it shuts the session down
    top.until(lambda text: "MACHINE" in text)
    session.shutdown()
    assert re.search(r"Session shown-\w+ has ended\.", top.end())
    assert top.process.returncode == 0
