from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigmachine._driver import Driver
from tests.support import shelf
from tests.support.drivers import IDLE, driver


class Shelf:
    """What is on the shelf, and how sessions put it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, session: str, driver: Driver | None, *, machines: int = 1, **ago: float) -> None:
        """Have a session with machines, each with its volume, and a group."""
        started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(**ago)
        marks = {"started": started.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if driver is not None:
            marks |= {"driver": str(driver), "host": driver.host}
        name = f"{session}.bigmachine"
        self.put(f"group.{name}", "security-group", **marks)
        for number in range(machines):
            self.put(f"volume.{name}", "volume", zone="upper", state="in-use", **marks)
            about = {"instance_type": "c7i.large", "market": "spot", "state": "running"}
            place = {"zone": "upper", "cost": "0.062"}
            self.put(f"m{number}.{name}", **about, **place, **marks)

    def put(self, name: str, kind: str = "instance", **more: str) -> str:
        return shelf.put(self.folder, name, kind, **more)

    def jam(self, id: str) -> None:
        (self.folder / f"{id}.jammed").touch()

    def slow(self, id: str) -> None:
        (self.folder / f"{id}.slow").touch()

    @property
    def left(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.json"))


@pytest.fixture
def things(tmp_path: Path, install, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A shelf, and the system of that name, installed, that finds it."""
    folder = tmp_path / "things"
    folder.mkdir()
    points = "[bigmachine.systems]\nshelf = shelf_of_this_test:ShelfSystem\n"
    install("shelf", points, shelf_of_this_test=Path(shelf.__file__).read_text())
    monkeypatch.setenv("BIGMACHINE_SHELF_FOLDER", str(folder))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)  # so that the system ec2 can't be asked
    monkeypatch.chdir(tmp_path)
    return Shelf(folder)


@pytest.fixture
def dead() -> Driver:
    """A driver that was killed a moment ago."""
    with driver("-c", IDLE) as process:
        return Driver.parse(process.read_line(), host=socket.gethostname())


@pytest.fixture
def alive() -> Iterator[Driver]:
    """A driver that lives for the length of the test."""
    with driver("-c", IDLE) as process:
        yield Driver.parse(process.read_line(), host=socket.gethostname())


@pytest.fixture
def elsewhere() -> Driver:
    """A driver on another computer."""
    return Driver(pid=os.getpid(), started=1, place="0123456789abcdef0123", host="gpu-box")
