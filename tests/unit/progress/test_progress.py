"""What `start` shows of itself on a terminal and in a pipe, and that it never gets in the way."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest
import trio

import bigmachine as bm
from bigmachine.machine.output._screen import screen
from bigmachine.progress import _display, _plain, _table
from bigmachine.progress._start import Start
from bigmachine.testing import InProcessSystem
from tests.support.terminals import Terminal, terminal_as_stderr
from tests.support.waiting import eventually, until


class Gated(InProcessSystem):
    """Machines that are launched once a test lets them, and some of them never."""

    name = "gated"

    def __init__(self, options: object = None) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.most = 99

    async def start(self, count, request):
        await self.gate.wait()
        return await super().start(min(count, self.most), request)


Test = Callable[[bm.AsyncSession, Gated], Awaitable[None]]


class Work:
    """A service that is set up once a test lets it."""

    gate = threading.Event()

    def setup(self, session: bm.PeerSession) -> None:
        self.gate.wait()


class Broken:
    """A service that can't be set up."""

    def setup(self, session: bm.PeerSession) -> None:
        raise OSError("no such model")


@pytest.fixture(autouse=True)
def shown_at_once(monkeypatch):
    monkeypatch.setenv("BIGMACHINE_PROGRESS", "on")
    monkeypatch.setattr(_display, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(_plain, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(Work, "gate", threading.Event())


def run(test: Test) -> None:
    """Run an async test with an open session."""

    async def main() -> None:
        system = Gated()
        async with bm.AsyncSession(system) as session:
            await test(session, system)

    trio.run(main)


async def shows(terminal: Terminal, text: str) -> str:
    return await eventually(lambda: text in (now := terminal.text) and now)


@pytest.mark.parametrize(("is_rich_there", "columns"), [(True, 80), (False, 80), (True, 30)])
def test_terminal_shows_table_while_machines_start_and_result_after_it(
    monkeypatch, is_rich_there, columns
):
    if not is_rich_there:
        monkeypatch.setitem(sys.modules, "rich.table", None)
        monkeypatch.delitem(sys.modules, "bigmachine.progress._rich", raising=False)

    async def test(session: bm.AsyncSession, system: Gated) -> None:
        async def start() -> None:
            machines.extend(await session.start(3, services={"Work": Work()}))

        machines: list[bm.AsyncMachine] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            assert "Starting 3 machines on" in await shows(terminal, "provisioning")
            system.gate.set()
            last = (await shows(terminal, "starting")).split("\n")[-1]
            assert last.split() == ["starting", "3"]
            Work.gate.set()
        result = terminal.text.replace("\n", "")  # on few columns, it is in several rows
        assert re.fullmatch(r"bigmachine: 3 machines are running on gated after \d+ s", result)
        assert len(machines) == 3

    with terminal_as_stderr(columns=columns) as terminal:
        run(test)
        assert b"\x1b[33m" in terminal.raw  # in color
        assert (b"\x1b[1m" in terminal.raw) == (is_rich_there and columns == 80)  # and bold


@pytest.mark.parametrize("columns", [40, 80])
def test_table_shows_phases_and_why_machine_failed_within_its_width(columns):
    start = Start(3, system="ec2", boots=True)
    start.launched(bm.Instance(f"m{i}.ada", "10.0.0.1:1", cost_per_hour=900.0) for i in range(3))
    start.changed(bm.BootProgress("m0", "upload", 500 << 20, 999 << 20, 1.0))
    error = bm.BootError("m1 did not boot: 漢字漢字 " + 20 * "and so on ")
    start.changed(bm.MachineChanged("m1", "addr", bm.State.STOPPED, error))
    with terminal_as_stderr(columns=columns) as terminal:
        _table.TableView().show([start])
        title, *rows, reason = terminal.text.strip("\n").split("\n")
    screen.clear()
    assert title.startswith("Starting 3 machines on ec2")
    assert [row.split()[:2] for row in rows] == [
        ["booting", "1"],
        ["uploading", "1"],
        ["failed", "1"],
    ]
    assert "500.0 MiB of" in rows[1]
    assert reason.split()[:4] == ["m1", "did", "not", "boot:"]
    assert max(map(len, [title, *rows, reason])) < columns


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_start_that_fails_or_is_cancelled_leaves_terminal_as_it_was(is_cancelled):
    async def test(session: bm.AsyncSession, system: Gated) -> None:
        print("before", file=sys.stderr)
        system.most = 0
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(bm.StartError):
                    await session.start(2, services={"Work": Work()})

            nursery.start_soon(start)
            await shows(terminal, "provisioning")
            if is_cancelled:
                nursery.cancel_scope.cancel()
            else:
                system.gate.set()
        assert terminal.text == "before"

    with terminal_as_stderr() as terminal:
        run(test)


def test_two_starts_at_once_have_a_table_each_and_end_one_by_one():
    async def test(session: bm.AsyncSession, system: Gated) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: session.start(2, services={"Work": Work()}))
            await shows(terminal, "Starting 2 machines")
            nursery.start_soon(lambda: session.start(1, services={"One": lambda: 1}))
            both = await shows(terminal, "Starting 1 machine")
            assert both.index("Starting 2 machines") < both.index("Starting 1 machine")
            system.gate.set()
            one = await shows(terminal, "bigmachine: 1 machine is running on gated")
            assert "Starting 1" not in one
            await shows(terminal, "Starting 2 machines")
            Work.gate.set()
        first, second = terminal.text.split("\n")
        assert first.startswith("bigmachine: 1 machine is running")
        assert second.startswith("bigmachine: 2 machines are running")

    with terminal_as_stderr() as terminal:
        run(test)


def test_pipe_gets_lines_and_the_result(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())

    async def test(session: bm.AsyncSession, system: Gated) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: session.start(2, services={"Work": Work()}))
            await eventually(lambda: "2 provisioning\n" in stream.getvalue())
            system.gate.set()
            Work.gate.set()

    run(test)
    *lines, result = stream.getvalue().splitlines()
    start = r"bigmachine: starting 2 machines on gated, \d+ s: 2 (preparing|provisioning|starting)"
    assert all(re.fullmatch(start, line) for line in lines)
    assert result.startswith("bigmachine: 2 machines are running on gated after ")


def test_short_start_shows_nothing(monkeypatch):
    monkeypatch.setattr(_display, "SHOWN_AFTER", 600.0)
    with terminal_as_stderr() as terminal:
        start_quickly()
        assert terminal.text == ""
    monkeypatch.setattr(_display, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(_plain, "FIRST_SECONDS", 600.0)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    start_quickly()
    assert not stream.getvalue()


def test_nothing_is_shown_if_progress_is_off_and_misspelt_setting_is_told(monkeypatch):
    with terminal_as_stderr() as terminal:
        monkeypatch.setenv("BIGMACHINE_PROGRESS", "off")
        start_quickly()
        assert terminal.text == ""
        monkeypatch.setenv("BIGMACHINE_PROGRESS", "offf")
        with pytest.raises(
            bm.UsageError, match="BIGMACHINE_PROGRESS: must be on or off, not 'offf'"
        ):
            start_quickly()
        assert terminal.text == ""


class Raising(io.StringIO):
    def write(self, text: str) -> int:
        raise SystemExit(3)


@pytest.mark.parametrize("stream", [None, object(), Raising()], ids=["none", "object", "raising"])
def test_broken_stderr_does_not_disturb_a_start(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert start_quickly() == 1


def test_thread_that_shows_ends_with_last_start():
    start_quickly()
    until(lambda: _display.display._thread is None)


def start_quickly() -> int:
    """Start a machine; return what its service returns."""
    with bm.Session(InProcessSystem()) as session:
        [machine] = session.start(1, services={"One": lambda: 1})
        return machine.call("One")
