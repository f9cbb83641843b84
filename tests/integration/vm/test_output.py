"""The output of machines whose only log is the boot program's arrives at the driver."""

from __future__ import annotations

import os
import shutil
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from bigmachine.boot.vm import log as boot_log
from bigmachine.boot.vm.log import LogFiles, read_log
from bigmachine.environment._tools import find_pip, find_uv
from bigmachine.machine._log import MachineLog
from bigmachine.system import LinePart
from tests.support import vms as vms_folder
from tests.support.vms.projects import run_project

needs_builder = pytest.mark.skipif(
    not (find_uv() or find_pip()),
    reason="editable packages are built by uv or pip: neither is here",
)

BURST_LINES = 100_000

SERVICES = """
    import os, signal, sys, threading, trio

    class Talker:
        def setup(self, session):
            print("from setup")

        def teardown(self):
            print("torn down")

        def say(self, text, end="\\n"):
            print(text, end=end)

        def say_in_thread(self, text):
            thread = threading.Thread(target=print, args=(text,))
            thread.start()
            thread.join()

        async def say_and_wait(self, text):
            self.released = trio.Event()
            print(text, file=sys.stderr)
            await self.released.wait()

        async def release(self):
            self.released.set()

        def burst(self, lines):
            for i in range(lines):
                print(f"burst {i:07}" + "." * 86)

        def burst_and_die(self, lines):
            self.burst(lines)
            print("last word", end="", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    class Failing:
        def setup(self, session):
            print("about to fail")
            raise ValueError("on purpose")

    class Dying:
        def setup(self, session):
            print("about to die", flush=True)
            os._exit(7)
"""

PROGRAM = """
    import contextlib, json, sys, threading
    import bigmachine as bm
    import trio
    from bigmachine.testing.faults import Fault, Faults
    from services import *
    from vms import VmSystem

    class Captured:
        "Keeps what is written; other threads can wait for a line."
        def __init__(self):
            self.text, self.grown = [], threading.Condition()
        def write(self, text):
            with self.grown:
                self.text.append(text)
                self.grown.notify_all()
        def flush(self):
            pass
        def lines(self):
            return "".join(self.text).splitlines()
        def wait_for(self, line, count=1):
            with self.grown:
                assert self.grown.wait_for(lambda: self.lines().count(line) >= count, 60), line

        def wait_for_burst(self, number):
            text = f"burst {number:07}"
            with self.grown:
                assert self.grown.wait_for(lambda: any(text in t for t in self.text), 60), text

    class OwnTail(VmSystem):
        capabilities = VmSystem.capabilities | {bm.Capability.TAIL}
        async def tail(self, instance):
            while instance.name not in self.vms or "in the log" not in await self.console(instance):
                await trio.sleep(0.05)
            yield b"the system's output"

    def talk(captured):
        with bm.Session(VmSystem(), plugins=[faults := Faults(kinds=())]) as session:
            machines = session.start(2, services={"Talker": Talker()})
            for machine in machines:
                waiting = machine.submit("Talker.say_and_wait", f"live {machine.name}")
                captured.wait_for(f"{machine.name}: live {machine.name}")
                machine.call("Talker.release")
                waiting.result()
                machine.call("Talker.say_in_thread", "from a thread")
            m0, m1 = machines
            bursting = m1.submit("Talker.burst", BURST)
            for i in range(5):
                captured.wait_for_burst(i * BURST // 10)
                faults.inject(Fault.RESET)  # which may end the call; the method continues
            with contextlib.suppress(bm.TransportError):
                bursting.result()
            captured.wait_for_burst(BURST - 1)
            m0.with_options(retry=True).call("Talker.say", "")
            m0.with_options(retry=True).call("Talker.say", "unfinished", end="")
            m1.with_options(retry=True).call("Talker.say", "at the very end")

    def die(captured):
        with bm.Session(VmSystem()) as session:
            [machine] = session.start(1, services={"Talker": Talker()})
            try:
                machine.call("Talker.burst_and_die", 1000)
            except bm.MachineStopped as exc:
                errors = [str(exc), exc.reason.name]
        return errors

    def fail(captured):
        errors = []
        with bm.Session(VmSystem()) as session:
            for service in Failing(), Dying():
                try:
                    session.start(1, services={"It": service})
                except bm.StartError as exc:
                    errors.append(str(exc))
        return errors

    def own(captured):
        with bm.Session(OwnTail()) as session:
            [machine] = session.start(1, services={"Talker": Talker()})
            machine.call("Talker.say", "in the log")
            captured.wait_for("m0: the system's output")

    if __name__ == "__main__":
        real, sys.stderr = sys.stderr, Captured()
        try:
            errors = globals()[sys.argv[1]](sys.stderr)
        finally:
            captured, sys.stderr = sys.stderr, real
        print(json.dumps({"errors": errors, "lines": captured.lines()}))
"""


@pytest.fixture
def drive(tmp_path: Path) -> Callable[[str], Any]:
    folder = tmp_path / "project"
    (tmp_path / "disks").mkdir()
    folder.mkdir()
    (folder / "services.py").write_text(textwrap.dedent(SERVICES))
    text = textwrap.dedent(PROGRAM).replace("BURST", str(BURST_LINES))
    (folder / "main.py").write_text(text)
    shutil.copy(Path(vms_folder.__file__).with_name("vms.py"), folder)

    def drive(scene: str) -> Any:
        return run_project(folder, scene, TMPDIR=str(tmp_path / "disks"))

    return drive


def lines_of(machine: str, lines: list[str]) -> list[str]:
    """Return what a machine printed, without what it logs if the computer is slow."""
    found = [line.partition(": ")[2] for line in lines if line.startswith(machine + ": ")]
    return [line for line in found if "still runs after it was cancelled" not in line]


@needs_builder
@pytest.mark.long
def test_every_line_arrives_once_in_order_despite_broken_connections(drive):
    lines = drive("talk")["lines"]
    assert lines_of("m0", lines) == [
        *("from setup", "live m0", "from a thread", "", "unfinished", "torn down")
    ]
    assert lines_of("m1", lines) == [
        *("from setup", "live m1", "from a thread"),
        *(f"burst {i:07}" + "." * 86 for i in range(BURST_LINES)),
        "at the very end",
        "torn down",
    ]


@needs_builder
@pytest.mark.long
def test_last_output_and_exit_status_of_killed_worker_arrive(drive):
    outcome = drive("die")
    text, reason = outcome["errors"]
    assert "Talker.burst_and_die was cut off: m0 stopped: the worker ended with status -9" in text
    assert text.splitlines()[-1] == "  last word"
    assert reason == "EXITED"
    burst = [f"burst {i:07}" + "." * 86 for i in range(1000)]
    assert lines_of("m0", outcome["lines"]) == ["from setup", *burst, "last word"]


@needs_builder
@pytest.mark.long
def test_boot_error_contains_output_of_failed_setup(drive):
    raised, exited = drive("fail")["errors"]
    assert "ValueError: on purpose" in raised
    assert "\n  about to fail" in raised
    assert "the worker ended with status 7" in exited
    assert "\n  about to die" in exited


@pytest.mark.long
@needs_builder
def test_output_is_not_doubled_if_system_implements_tail(drive):
    assert lines_of("m0", drive("own")["lines"]) == ["the system's output"]


# -- the log on the machine -----------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[LogFiles]:
    monkeypatch.setattr(boot_log, "LOG_BYTES", 10_000)
    log = LogFiles(str(tmp_path / "log"))
    yield log
    os.close(log._file)  # the boot program never closes it


def read_all(log: LogFiles, offset: int) -> Iterator[tuple[int, bytes]]:
    while (part := read_log(log.folder, offset))[1]:
        yield part
        offset = part[0] + len(part[1])


def test_endless_output_is_kept_in_two_files_of_bounded_size(log):
    printed = b"".join(b"line %07d\n" % i for i in range(10_000))
    for begin in range(0, len(printed), 1_000):
        log.write(printed[begin : begin + 1_000])
    files = [*Path(log.folder).iterdir()]
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) <= 2 * 11_000
    begin, _ = read_log(log.folder, 0)
    assert len(printed) - begin >= 10_000
    assert b"".join(data for _, data in read_all(log, 0)) == printed[begin:]
    assert read_log(log.folder, len(printed)) == (len(printed), b"")
    assert b"".join(data for _, data in read_all(log, len(printed) - 5)) == printed[-5:]


def test_concurrent_reader_of_log_misses_nothing(log):
    def write() -> None:
        for i in range(20_000):
            log.write(b"%07d\n" % i)

    writing = threading.Thread(target=write)
    writing.start()
    offset = 0
    while writing.is_alive() or offset < 160_000:
        at, data = read_log(log.folder, offset)
        assert at >= offset
        first = -(-at // 8)
        numbers = data[first * 8 - at :].split(b"\n")[:-1]
        assert numbers == [b"%07d" % i for i in range(first, first + len(numbers))]
        offset = at + len(data)
    writing.join()


def test_log_of_earlier_boot_is_deleted(log):
    log.write(b"old\n" * 5_000)
    again = LogFiles(log.folder)
    again.say("new")
    assert read_log(log.folder, 0)[1].endswith(b"new\n")
    assert len([*Path(log.folder).iterdir()]) == 1
    os.close(again._file)


# -- the log on the driver --------------------------------------------------------------------


class Received:
    """A machine's log on the driver, and the lines that were received."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.log = MachineLog(self.lines.extend)


def test_overlapping_parts_are_merged_and_gap_is_reported():
    received = Received()
    received.log.take(0, b"one\ntw")
    received.log.take(0, b"one\ntwo\n")
    received.log.take(2, b"e\n")
    assert received.lines == [b"one", b"two"]
    received.log.take(8, b"cut")
    received.log.take(100, b"off\nlast")
    assert received.lines[2] == b"cut"
    assert b"89 bytes" in received.lines[3]
    assert received.lines[4:] == [b"off"]
    received.log.finish()
    received.log.finish()
    assert received.lines[5:] == [b"last"]


def test_endless_line_arrives_in_parts():
    received = Received()
    for offset in range(0, 5 << 20, 1 << 18):
        received.log.take(offset, bytes(1 << 18))
    assert len(received.lines) == 5
    assert b"".join(received.lines) == bytes(5 << 20)


class Worker:
    """A fake worker, which appends marks to its log."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.grown = trio.Event()

    def print(self, text: bytes) -> None:
        self.text += text
        self.grown.set()

    async def call_supervisor(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        await trio.lowlevel.checkpoint()
        if method == "Supervisor.mark":
            self.print(args[0].encode() + b"\n")
            return None
        (offset,) = args
        while len(self.text) == offset:
            await self.grown.wait()
            self.grown = trio.Event()
        return offset, self.text[offset : offset + 7]


def test_line_that_is_not_finished_for_a_moment_is_given_in_parts():
    async def test() -> None:
        received, worker = Received(), Worker(b"one\n 10%")

        async def connected() -> Any:
            return worker

        async with trio.open_nursery() as nursery:
            nursery.start_soon(received.log.follow, connected)
            await trio.sleep(1)
            assert received.lines == [b"one", b" 10%"]
            assert isinstance(received.lines[1], LinePart)
            worker.print(b"\r 20%")
            await trio.sleep(1)
            await received.log.catch_up(worker, within=5)
            received.log.finish()
            nursery.cancel_scope.cancel()
        assert received.lines[2:] == [b"\r 20%", b""]
        assert isinstance(received.lines[2], LinePart)

    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0.02))


def test_catch_up_receives_all_earlier_output():
    async def test() -> None:
        received, worker = Received(), Worker(b"first\nunfinished")

        async def connected() -> Any:
            return worker

        # Nobody follows the log yet, so there is nothing to wait for.
        await received.log.catch_up(worker, within=float("inf"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(received.log.follow, connected)
            await trio.testing.wait_all_tasks_blocked()
            assert received.lines == [b"first"]
            await received.log.catch_up(worker, within=5)
            assert received.lines == [b"first", b"unfinished"]
            await received.log.catch_up(worker, within=5)
            assert received.lines == [b"first", b"unfinished"]
            nursery.cancel_scope.cancel()

    trio.run(test)
