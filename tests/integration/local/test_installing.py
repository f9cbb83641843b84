"""Services of real processes are installed once, whatever happens to the connection meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import bigmachine as bm
from bigmachine.testing.faults import Fault, Faults
from tests.support.waiting import until


class CountedInFile:
    """Notes each of its set-ups in a file, and ends it when there is another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, session: bm.PeerSession) -> None:
        with (self.folder / "setups").open("a") as file:
            file.write("once\n")
        until((self.folder / "go").exists)

    def say(self) -> str:
        return "here"


def test_setup_in_a_thread_of_a_process_runs_once(tmp_path):
    faults = Faults(kinds=())

    def interfere() -> None:
        until((tmp_path / "setups").exists)
        for _ in range(3):
            faults.inject(Fault.RESET)
        (tmp_path / "go").touch()

    with bm.Session("local", plugins=[faults]) as session:
        thread = threading.Thread(target=interfere)
        thread.start()
        [machine] = session.start(1, services={"It": CountedInFile(tmp_path)})
        thread.join()
        assert machine.call("It.say") == "here"
    assert (tmp_path / "setups").read_text() == "once\n"
    assert any(injection.fault == Fault.RESET for injection in faults.injected)
