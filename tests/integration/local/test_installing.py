"""Services are installed once, even if the connection breaks meanwhile."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import bigmachine as bm
from bigmachine.testing.faults import Fault, Faults
from tests.support.waiting import until


class CountedInFile:
    """Records each call of `setup` in a file; `setup` returns once a second file exists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, session: bm.PeerSession) -> None:
        with (self.folder / "setups").open("a") as file:
            file.write("once\n")
        until((self.folder / "go").exists)

    def say(self) -> str:
        return "here"


def test_setup_runs_once_despite_broken_connections(tmp_path):
    faults = Faults(kinds=())

    def break_connections() -> None:
        until((tmp_path / "setups").exists)
        for _ in range(3):
            faults.inject(Fault.RESET)
        (tmp_path / "go").touch()

    with bm.Session("local", plugins=[faults]) as session:
        thread = threading.Thread(target=break_connections)
        thread.start()
        [machine] = session.start(1, services={"It": CountedInFile(tmp_path)})
        thread.join()
        assert machine.call("It.say") == "here"
    assert (tmp_path / "setups").read_text() == "once\n"
    assert any(injection.fault == Fault.RESET for injection in faults.injected)


class Modules:
    """Knows what was imported in its process."""

    def setup(self, session: bm.PeerSession) -> None:
        self.name = session.name
        assert session.machines == []

    def has(self, module: str) -> bool:
        return module in sys.modules


def test_machine_imports_no_http_client_and_no_extra_that_it_does_not_need():
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Modules": Modules()})
        assert machine.call("Modules.has", "trio")
        machine.variables()
        for module in ("httpx", "opentelemetry", "pynvml"):
            assert not machine.call("Modules.has", module)
