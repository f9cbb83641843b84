"""The orderly end of real processes: `teardown`, exit handlers, temporary files, SIGTERM."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import tempfile
import threading
from pathlib import Path

import pytest

import bigmachine as bm
from tests.support.processes import is_running
from tests.support.waiting import until

kept = []


class OnDisk:
    """Leaves files in ``folder``, unless its process ends in good order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, session):
        self.scratch = tempfile.TemporaryDirectory(dir=self.folder, prefix="scratch-")
        self.file = tempfile.NamedTemporaryFile(dir=self.folder, prefix="file-")  # noqa: SIM115
        self.log = (self.folder / "log").open("w")
        atexit.register((self.folder / "exit-handler").touch)

    def teardown(self):
        self.log.close()

    def write(self, line):
        self.log.write(line)
        return os.getpid()

    @bm.parallel
    def in_process(self):
        kept.append(tempfile.TemporaryDirectory(dir=self.folder, prefix="parallel-"))
        atexit.register((self.folder / "exit-handler-of-process").touch)
        return os.getpid()

    def terminate_child(self):
        """Start a child and end it by SIGTERM; return its exit code."""
        child = multiprocessing.get_context("fork").Process(target=signal.pause)
        child.start()
        child.terminate()
        child.join()
        return child.exitcode

    def ctrl_c_in_child(self):
        """Send SIGINT to a child; return what it raises there."""

        def raise_it():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                os._exit(7)

        child = multiprocessing.get_context("fork").Process(target=raise_it)
        child.start()
        child.join()
        return child.exitcode


class Waits:
    def forever(self):
        threading.Event().wait()


@pytest.mark.parametrize("fork", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_process_ends_in_good_order_by_shutdown_cancel_or_signal(tmp_path, fork):
    folders = {how: tmp_path / how for how in ("shutdown", "cancel", "SIGTERM", "SIGINT")}
    with bm.Session("local", fork=fork, maxprocs=2) as session:
        machines = {}
        for how, folder in folders.items():
            folder.mkdir()
            services = {"OnDisk": OnDisk(folder), "Waits": Waits()}
            [machines[how]] = session.start(1, services=services)
            machines[how].call("OnDisk.write", f"before {how}\n")
            machines[how].submit("Waits.forever")
        process = machines["shutdown"].call("OnDisk.in_process")
        assert machines["SIGTERM"].call("OnDisk.terminate_child") == -signal.SIGTERM
        assert machines["SIGINT"].call("OnDisk.ctrl_c_in_child") == 7
        machines["shutdown"].shutdown()
        machines["cancel"].cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            machine = machines[number.name]
            os.kill(machine.info().pid, number)
            machine.wait(bm.State.STOPPED)
            assert f"killed by signal {number:d} ({number.name})" in str(machine.error)
            assert "Traceback" not in str(machine.error)  # in its last lines
    until(lambda: not is_running(process))
    for how, folder in folders.items():
        left = {path.name for path in folder.iterdir()}
        assert left - {"exit-handler-of-process"} == {"exit-handler", "log"}, how
        assert (folder / "log").read_text() == f"before {how}\n"
    assert (folders["shutdown"] / "exit-handler-of-process").exists()


class HangsAtExit:
    def setup(self, session):
        atexit.register(threading.Event().wait)

    def pid(self):
        return os.getpid()


@pytest.mark.long
def test_hanging_exit_handler_delays_end_of_machine_only_for_seconds():
    with bm.Session("local") as session:
        one, other = session.start(2, services={"Hangs": HangsAtExit()})
        pid = other.call("Hangs.pid")
        one.shutdown()
        os.kill(pid, signal.SIGTERM)
        until(lambda: not is_running(pid))
