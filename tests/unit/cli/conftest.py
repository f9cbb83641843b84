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


class ShelfResources:
    """The resources on a shelf, which is the fake provider of these tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_session(
        self, session: str, driver: Driver | None, *, machines: int = 1, **ago: float
    ) -> None:
        """Add a session: a security group, and machines with a volume each."""
        started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(**ago)
        tags = {"started": started.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if driver is not None:
            tags |= {"driver": str(driver), "host": driver.host}
        name = f"{session}.bigmachine"
        self.add(f"group.{name}", "security-group", **tags)
        for number in range(machines):
            self.add(f"volume.{name}", "volume", zone="upper", state="in-use", **tags)
            details = {"instance_type": "c7i.large", "market": "spot", "state": "running"}
            location = {"zone": "upper", "cost": "0.062"}
            self.add(f"m{number}.{name}", **details, **location, **tags)

    def add(self, name: str, kind: str = "instance", **more: str) -> str:
        return shelf.put(self.folder, name, kind, **more)

    def make_stop_fail(self, id: str) -> None:
        (self.folder / f"{id}.jammed").touch()

    def make_stop_hang(self, id: str) -> None:
        (self.folder / f"{id}.slow").touch()

    def hide_the_upper_shelf(self) -> None:
        """Make the system list all but the machines and volumes of `add_session`."""
        (self.folder / "dark").touch()

    @property
    def ids(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.json"))


@pytest.fixture
def resources(tmp_path: Path, install, monkeypatch: pytest.MonkeyPatch) -> ShelfResources:
    """An empty shelf, and the installed system ``shelf`` that reads it."""
    folder = tmp_path / "resources"
    folder.mkdir()
    points = "[bigmachine.systems]\nshelf = shelf_of_this_test:ShelfSystem\n"
    install("shelf", points, shelf_of_this_test=Path(shelf.__file__).read_text())
    monkeypatch.setenv("BIGMACHINE_SHELF_FOLDER", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)  # so that the system ec2 cannot be queried
    monkeypatch.chdir(tmp_path)
    return ShelfResources(folder)


@pytest.fixture(scope="session")
def dead_driver() -> Driver:
    """A driver that has been killed."""
    with driver("-c", IDLE) as process:
        return Driver.parse(process.read_line(), host=socket.gethostname())


@pytest.fixture
def live_driver() -> Iterator[Driver]:
    """A driver that is alive during the test."""
    with driver("-c", IDLE) as process:
        yield Driver.parse(process.read_line(), host=socket.gethostname())


@pytest.fixture
def remote_driver() -> Driver:
    """A driver on another computer."""
    return Driver(pid=os.getpid(), started=1, place="0123456789abcdef0123", host="gpu-box")
