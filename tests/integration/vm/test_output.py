"""What machines print that have nothing but the boot program's log: it arrives at the driver."""

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
from tests.support import vms as vms_folder
from tests.support.vms.projects import told_by

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

    class Kept:
        "Keeps what is written, and lets others wait for it."
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
            yield b"the system's own"

    def talk(kept):
        with bm.Session(VmSystem(), plugins=[faults := Faults(kinds=())]) as session:
            machines = session.start(2, services={"Talker": Talker()})
            for machine in machines:
                waiting = machine.submit("Talker.say_and_wait", f"live {machine.name}")
                kept.wait_for(f"{machine.name}: live {machine.name}")
                machine.call("Talker.release")
                waiting.result()
                machine.call("Talker.say_in_thread", "from a thread")
            m0, m1 = machines
            bursting = m1.submit("Talker.burst", BURST)
            for i in range(5):
                kept.wait_for_burst(i * BURST // 10)
                faults.inject(Fault.RESET)  # which may cut the call off; the method goes on
            with contextlib.suppress(bm.TransportError):
                bursting.result()
            kept.wait_for_burst(BURST - 1)
            m0.call("Talker.say", "", retry=True)
            m0.call("Talker.say", "unfinished", end="", retry=True)
            m1.call("Talker.say", "at the very end", retry=True)

    def die(kept):
        with bm.Session(VmSystem()) as session:
            [machine] = session.start(1, services={"Talker": Talker()})
            try:
                machine.call("Talker.burst_and_die", 1000)
            except bm.MachineStopped as exc:
                told = [str(exc), exc.reason.name]
        return told

    def fail(kept):
        told = []
        with bm.Session(VmSystem()) as session:
            for service in Failing(), Dying():
                try:
                    session.start(1, services={"It": service})
                except bm.StartError as exc:
                    told.append(str(exc))
        return told

    def own(kept):
        with bm.Session(OwnTail()) as session:
            [machine] = session.start(1, services={"Talker": Talker()})
            machine.call("Talker.say", "in the log")
            kept.wait_for("m0: the system's own")

    if __name__ == "__main__":
        real, sys.stderr = sys.stderr, Kept()
        try:
            told = globals()[sys.argv[1]](sys.stderr)
        finally:
            kept, sys.stderr = sys.stderr, real
        print(json.dumps({"told": told, "lines": kept.lines()}))
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
        return told_by(folder, scene, TMPDIR=str(tmp_path / "disks"))

    return drive


def of(machine: str, lines: list[str]) -> list[str]:
    return [line.partition(": ")[2] for line in lines if line.startswith(machine + ": ")]


@needs_builder
def test_every_line_arrives_once_and_in_order_while_it_is_printed_over_broken_connections(drive):
    lines = drive("talk")["lines"]
    assert of("m0", lines) == ["from setup", "live m0", "from a thread", "", "unfinished"]
    assert of("m1", lines) == [
        *("from setup", "live m1", "from a thread"),
        *(f"burst {i:07}" + "." * 86 for i in range(BURST_LINES)),
        "at the very end",
    ]


@needs_builder
def test_a_worker_that_is_killed_leaves_its_last_words_and_the_machine_says_how_it_ended(drive):
    outcome = drive("die")
    text, reason = outcome["told"]
    assert "Talker.burst_and_die was cut off: m0 stopped: the worker ended with status -9" in text
    assert reason == "EXITED"
    burst = [f"burst {i:07}" + "." * 86 for i in range(1000)]
    assert of("m0", outcome["lines"]) == ["from setup", *burst, "last word"]


@needs_builder
def test_what_a_setup_printed_before_it_failed_is_in_the_boot_error(drive):
    raised, exited = drive("fail")["told"]
    assert "ValueError: on purpose" in raised
    assert "\n  about to fail" in raised
    assert "the worker ended with status 7" in exited
    assert "\n  about to die" in exited


@needs_builder
def test_a_system_that_follows_what_its_machines_print_is_not_doubled(drive):
    assert of("m0", drive("own")["lines"]) == ["the system's own"]


# -- the log on the machine -----------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[LogFiles]:
    monkeypatch.setattr(boot_log, "LOG_BYTES", 10_000)
    log = LogFiles(str(tmp_path / "log"))
    yield log
    os.close(log._file)  # the program ends with it


def read_all(log: LogFiles, offset: int) -> Iterator[tuple[int, bytes]]:
    while (part := read_log(log.folder, offset))[1]:
        yield part
        offset = part[0] + len(part[1])


def test_a_machine_that_prints_without_end_keeps_the_last_of_it_in_two_files(log):
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


def test_who_reads_while_it_is_written_misses_nothing_that_is_kept(log):
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


def test_the_log_of_an_earlier_boot_is_gone(log):
    log.write(b"old\n" * 5_000)
    again = LogFiles(log.folder)
    again.say("new")
    assert read_log(log.folder, 0)[1].endswith(b"new\n")
    assert len([*Path(log.folder).iterdir()]) == 1
    os.close(again._file)


# -- the log as the driver reads it -----------------------------------------------------------


class Taken:
    """A log of the driver's, and the lines that it gave."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.log = MachineLog(self.lines.extend)


def test_parts_that_overlap_are_not_doubled_and_a_gap_is_told():
    taken = Taken()
    taken.log.take(0, b"one\ntw")
    taken.log.take(0, b"one\ntwo\n")
    taken.log.take(2, b"e\n")
    assert taken.lines == [b"one", b"two"]
    taken.log.take(8, b"cut")
    taken.log.take(100, b"off\nlast")
    assert taken.lines[2] == b"cut"
    assert b"89 bytes" in taken.lines[3]
    assert taken.lines[4:] == [b"off"]
    taken.log.finish()
    taken.log.finish()
    assert taken.lines[5:] == [b"last"]


def test_a_line_without_end_comes_in_parts():
    taken = Taken()
    for offset in range(0, 5 << 20, 1 << 18):
        taken.log.take(offset, bytes(1 << 18))
    assert len(taken.lines) == 5
    assert b"".join(taken.lines) == bytes(5 << 20)


class Worker:
    """Answers for a machine: what it is told to mark is in its log, after what is there."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.grown = trio.Event()

    async def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        await trio.lowlevel.checkpoint()
        if method == "Supervisor.mark":
            self.text += args[0].encode() + b"\n"
            self.grown.set()
            return None
        (offset,) = args
        while len(self.text) == offset:
            await self.grown.wait()
            self.grown = trio.Event()
        return offset, self.text[offset : offset + 7]


def test_all_that_was_printed_before_is_taken_when_the_driver_has_caught_up():
    async def test() -> None:
        taken, worker = Taken(), Worker(b"first\nunfinished")

        async def connected() -> Any:
            return worker

        await taken.log.catch_up(worker, within=float("inf"))  # nobody follows: nothing to wait for
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taken.log.follow, connected)
            await trio.testing.wait_all_tasks_blocked()
            assert taken.lines == [b"first"]
            await taken.log.catch_up(worker, within=5)
            assert taken.lines == [b"first", b"unfinished"]
            await taken.log.catch_up(worker, within=5)
            assert taken.lines == [b"first", b"unfinished"]
            nursery.cancel_scope.cancel()

    trio.run(test)
