"""The reaper, a process beside the driver, frees the leftovers of a killed driver."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from bigmachine.cli import main as command_line
from bigmachine.reaper import _log, _main
from tests.support.clocks import jumping_clock
from tests.support.drivers import DriverProcess, driver
from tests.support.processes import is_running
from tests.support.shelf import ShelfOptions, ShelfSystem, put
from tests.support.waiting import until

PROGRAM = "from tests.integration.local.reaped import main; main()"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, where reapers write what they could not free."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Any]:
    """Start the program, in a process of its own."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> DriverProcess:
            return stack.enter_context(driver("-c", PROGRAM, str(tmp_path), *arguments))

        yield start


def receive(driver: DriverProcess) -> dict[str, Any]:
    return dict(json.loads(driver.read_line()))


def resources(shelf: Path) -> list[str]:
    return sorted(path.stem for path in shelf.glob("*.json"))


def test_only_leftovers_of_killed_driver_are_freed(drive: Any, tmp_path: Path):
    other = put(tmp_path, "m0.other-01234567.bigmachine")
    driver = drive("reaper")
    receive(driver)
    assert len(resources(tmp_path)) == 4
    driver.kill()
    until(lambda: resources(tmp_path) == [other])


@pytest.mark.long
def test_resource_that_appears_late_is_freed(drive: Any, tmp_path: Path):
    driver = drive("reaper")
    session = receive(driver)["session"]
    driver.kill()
    until(lambda: resources(tmp_path) == [])
    put(tmp_path, f"late.{session}")
    until(lambda: resources(tmp_path) == [])


def test_reaper_does_not_wait_for_children_of_driver(drive: Any, tmp_path: Path):
    driver = drive("reaper", "forks")
    receive(driver)
    child = receive(driver)["child"]
    driver.kill()
    until(lambda: resources(tmp_path) == [])
    assert is_running(child)


def test_reaper_that_was_killed_is_replaced(drive: Any, tmp_path: Path):
    driver = drive("reaper", "loses its reaper")
    first, second = receive(driver)["reaper"], receive(driver)["reaper"]
    assert first != second
    driver.kill()
    until(lambda: resources(tmp_path) == [])


def test_reaper_asks_systemd_for_scope_of_its_own(monkeypatch: Any, tmp_path: Path):
    """So it survives what ends all processes of the driver's unit. No systemd runs in tests."""
    arguments = tmp_path / "arguments"
    (tmp_path / "busctl").write_text(
        f'#!/bin/sh\necho "$@" > {arguments}.new\nmv {arguments}.new {arguments}'
    )
    (tmp_path / "busctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(_main, "_SYSTEMD", str(tmp_path / "absent"))
    _main._ask_for_scope()
    monkeypatch.setattr(_main, "_SYSTEMD", str(tmp_path))
    _main._ask_for_scope()
    until(arguments.exists)
    manager = "--system" if os.geteuid() == 0 else "--user"
    assert arguments.read_text().split() == [
        *(manager, "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"),
        *("org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"),
        *(f"bigmachine-reaper-{os.getpid()}.scope", "fail", "2"),
        *("PIDs", "au", "1", str(os.getpid()), "CollectMode", "s", "inactive-or-failed", "0"),
    ]


def test_nothing_is_freed_while_driver_is_suspended(drive: Any, tmp_path: Path):
    driver = drive("reaper")
    reaper = receive(driver)["reaper"]
    driver.send_signal(signal.SIGSTOP)
    # The reaper checks the driver once a second; after its third wait it has checked.
    waits = Path(f"/proc/{reaper}/status")
    before = switches(waits)
    until(lambda: switches(waits) >= before + 3)
    assert len(resources(tmp_path)) == 3
    driver.send_signal(signal.SIGCONT)


def switches(status: Path) -> int:
    [line] = [s for s in status.read_text().splitlines() if s.startswith("voluntary_ctxt")]
    return int(line.split()[1])


def test_reaper_ends_with_session_that_freed_everything(drive: Any, tmp_path: Path):
    driver = drive("reaper", "fails", "frees")
    reaper = receive(driver)["reaper"]
    assert "it fails" in receive(driver)["error"]
    assert driver.wait(60) == 0
    until(lambda: not is_running(reaper))
    assert resources(tmp_path) == []


def test_system_without_reaper_starts_no_reaper_process(drive: Any, tmp_path: Path):
    driver = drive()
    assert receive(driver)["reaper"] is None
    driver.kill()
    assert len(resources(tmp_path)) == 3


def test_reaper_frees_what_is_seen_and_asks_until_all_is_seen(tmp_path: Path):
    seen, hidden = put(tmp_path, "m0.a-0123abcd"), put(tmp_path, "m1.a-0123abcd", zone="upper")
    (tmp_path / "dark").touch()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            system = ShelfSystem(ShelfOptions(folder=str(tmp_path)))
            nursery.start_soon(_main.reap, system, "a-0123abcd")
            await trio.sleep(2 * _main._QUIET_SECONDS)
            assert resources(tmp_path) == [hidden], seen
            (tmp_path / "dark").unlink()
        assert resources(tmp_path) == []

    trio.run(main, clock=jumping_clock())


def test_what_a_reaper_cannot_free_is_in_a_private_log_until_it_is_freed(
    tmp_path: Path, cache: Path, monkeypatch: Any, capsys: Any
):
    name = "a-0123abcd.bigmachine"
    jam = tmp_path / f"{put(tmp_path, f'm0.{name}')}.jammed"
    jam.touch()

    async def main(most_seconds: float) -> None:
        monkeypatch.setattr(_main, "_MOST_SECONDS", most_seconds)
        await _main.reap(ShelfSystem(ShelfOptions(folder=str(tmp_path))), name)

    trio.run(main, 60.0, clock=jumping_clock())
    [log] = (cache / "bigmachine/reaper").iterdir()
    assert log.stat().st_mode & 0o777 == 0o600
    first, last = (line.split("  ", 1)[1] for line in log.read_text().splitlines())
    assert first == f"instance {jam.stem} can't be freed: {jam.stem} is jammed"
    assert last.startswith("gave up after 60 s; ")
    for command in ("ps", "reap"):
        command_line([command])
        assert f"could not free all of a-0123abcd at once: {log} says" in capsys.readouterr().err
    jam.unlink()
    trio.run(main, 1800.0, clock=jumping_clock())
    assert not log.exists()


def test_reaper_that_fails_itself_says_so_in_its_log(drive: Any, tmp_path: Path, cache: Path):
    driver = drive("reaper")
    name = receive(driver)["session"]
    (tmp_path / "broken").touch()
    driver.kill()
    log = cache / f"bigmachine/reaper/{name}.log"
    until(lambda: log.exists() and "ValueError: it is broken" in log.read_text())


def test_reaper_logs_are_bounded(cache: Path, monkeypatch: Any):
    monkeypatch.setattr(_log, "_MOST_BYTES", 100)
    monkeypatch.setattr(_log, "_MOST_FILES", 2)
    for number, name in enumerate("abc"):
        for problem in ("x" * 60, "x" * 60, "y" * 60):
            _log.ReaperLog(name).note(problem)
        os.utime(cache / f"bigmachine/reaper/{name}.log", (number, number))
    assert [path.stem for path in _log.reaper_logs()] == ["b", "c"]
    assert all(path.stat().st_size < 100 for path in _log.reaper_logs())
