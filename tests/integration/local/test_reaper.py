"""What a driver that is killed leaves at its provider is freed by a process beside it."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.drivers import DriverProcess, driver
from tests.support.processes import is_running
from tests.support.shelf import put
from tests.support.waiting import until

PROGRAM = "from tests.integration.local.reaped import main; main()"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Any]:
    """Start the program, in a process of its own."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> DriverProcess:
            return stack.enter_context(driver("-c", PROGRAM, str(tmp_path), *arguments))

        yield start


def hear(driver: DriverProcess) -> dict[str, Any]:
    return dict(json.loads(driver.read_line()))


def on(shelf: Path) -> list[str]:
    return sorted(path.stem for path in shelf.glob("*.json"))


def test_what_a_killed_driver_left_is_freed_and_nothing_else(drive: Any, tmp_path: Path):
    other = put(tmp_path, "m0.other-01234567.bigmachine")
    driver = drive("swept")
    hear(driver)
    assert len(on(tmp_path)) == 4
    driver.kill()
    until(lambda: on(tmp_path) == [other])


def test_a_thing_that_turns_up_late_is_freed_too(drive: Any, tmp_path: Path):
    driver = drive("swept")
    session = hear(driver)["session"]
    driver.kill()
    until(lambda: on(tmp_path) == [])
    put(tmp_path, f"late.{session}")
    until(lambda: on(tmp_path) == [])


def test_children_that_hold_the_drivers_files_open_hold_nothing_up(drive: Any, tmp_path: Path):
    driver = drive("swept", "forks")
    hear(driver)
    child = hear(driver)["child"]
    driver.kill()
    until(lambda: on(tmp_path) == [])
    assert is_running(child)


def test_a_driver_that_is_stopped_may_go_on_and_nothing_is_freed(drive: Any, tmp_path: Path):
    driver = drive("swept")
    reaper = hear(driver)["reaper"]
    driver.send_signal(signal.SIGSTOP)
    # It looks at the driver once a second, and has looked when it has waited for the third time.
    waits = Path(f"/proc/{reaper}/status")
    before = switches(waits)
    until(lambda: switches(waits) >= before + 3)
    assert len(on(tmp_path)) == 3
    driver.send_signal(signal.SIGCONT)


def switches(status: Path) -> int:
    [line] = [s for s in status.read_text().splitlines() if s.startswith("voluntary_ctxt")]
    return int(line.split()[1])


def test_once_all_is_freed_the_reaper_ends_with_the_session(drive: Any, tmp_path: Path):
    driver = drive("swept", "fails", "frees")
    reaper = hear(driver)["reaper"]
    assert "it fails" in hear(driver)["error"]
    assert driver.wait(30) == 0
    assert not is_running(reaper)
    assert on(tmp_path) == []


def test_systems_that_are_not_swept_have_no_process_beside_the_driver(drive: Any, tmp_path: Path):
    driver = drive()
    assert hear(driver)["reaper"] is None
    driver.kill()
    assert len(on(tmp_path)) == 3
