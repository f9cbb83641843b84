"""The reaper, a process beside the driver, frees the leftovers of a killed driver."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.shelf import put
from tests.support.waiting import until

PROGRAM = "from tests.integration.local.reaped import main; main()"


class Driver:
    """A driver in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started: list[int] = []

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        message = json.loads(self.process.stdout.readline())
        self.started += [message[name] for name in ("reaper", "child") if message.get(name)]
        return dict(message)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Any]:
    drivers = []

    def start(*arguments: str) -> Driver:
        drivers.append(Driver(tmp_path, *arguments))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.end()


def resources(shelf: Path) -> list[str]:
    return sorted(path.stem for path in shelf.glob("*.json"))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_only_leftovers_of_killed_driver_are_freed(drive: Any, tmp_path: Path):
    other = put(tmp_path, "m0.other-01234567.bigmachine")
    driver = drive("reaper")
    driver.receive()
    assert len(resources(tmp_path)) == 4
    driver.process.kill()
    until(lambda: resources(tmp_path) == [other])


def test_resource_that_appears_late_is_freed(drive: Any, tmp_path: Path):
    driver = drive("reaper")
    session = driver.receive()["session"]
    driver.process.kill()
    until(lambda: resources(tmp_path) == [])
    put(tmp_path, f"late.{session}")
    until(lambda: resources(tmp_path) == [])


def test_reaper_does_not_wait_for_children_of_driver(drive: Any, tmp_path: Path):
    driver = drive("reaper", "forks")
    driver.receive()
    child = driver.receive()["child"]
    driver.process.kill()
    until(lambda: resources(tmp_path) == [])
    assert lives(child)


def test_nothing_is_freed_while_driver_is_suspended(drive: Any, tmp_path: Path):
    driver = drive("reaper")
    reaper = driver.receive()["reaper"]
    driver.process.send_signal(signal.SIGSTOP)
    # The reaper checks the driver once a second; after its third wait it has checked.
    waits = Path(f"/proc/{reaper}/status")
    before = switches(waits)
    until(lambda: switches(waits) >= before + 3)
    assert len(resources(tmp_path)) == 3
    driver.process.send_signal(signal.SIGCONT)


def switches(status: Path) -> int:
    [line] = [s for s in status.read_text().splitlines() if s.startswith("voluntary_ctxt")]
    return int(line.split()[1])


def test_reaper_ends_with_session_that_freed_everything(drive: Any, tmp_path: Path):
    driver = drive("reaper", "fails", "frees")
    reaper = driver.receive()["reaper"]
    assert "it fails" in driver.receive()["error"]
    assert driver.process.wait(30) == 0
    assert not lives(reaper)
    assert resources(tmp_path) == []


def test_system_without_reaper_starts_no_reaper_process(drive: Any, tmp_path: Path):
    driver = drive()
    assert driver.receive()["reaper"] is None
    driver.process.kill()
    driver.process.wait()
    assert len(resources(tmp_path)) == 3
