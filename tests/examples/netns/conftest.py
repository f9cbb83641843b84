from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.support.in_place import installed
from tests.support.paths import ROOT
from tests.support.waiting import until

EXAMPLE = ROOT / "examples" / "bigmachine-netns"
NAMESPACES = Path("/run/netns")
INTERFACES = Path("/sys/class/net")
SOON = 20.0  # seconds, for a busy computer; usually it takes a fraction of one


def missing_requirement() -> str | None:
    """Say why network namespaces can't be made here; None if they can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    for tool in ("ip", "flock", "setsid", "unshare"):
        if not shutil.which(tool):
            return f"there is no command {tool!r}"
    with contextlib.ExitStack() as undo:
        name = f"bigmachine-probe-{secrets.token_hex(4)}"
        for command in (
            f"ip netns add {name}",
            f"ip -n {name} link add veth0 type veth peer name veth1",
            f"ip -n {name} link add bridge0 type bridge",
        ):
            made = subprocess.run(command.split(), capture_output=True, text=True)
            if made.returncode:
                return f"{command}: {made.stderr.strip()}"
            if "netns add" in command:
                undo.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__) + os.sep
    ours = [item for item in items if str(item.path).startswith(here)]
    reason = missing_requirement() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.timeout(90))
        if reason is not None and "computer" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def package() -> Iterator[None]:
    with installed(EXAMPLE):
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "bigmachine_netns"]:
        del sys.modules[name]


class Computer:
    """The namespaces and processes on this computer that one test has made; they have its mark."""

    def __init__(self) -> None:
        self.mark = f"netns-{secrets.token_hex(4)}"  # the tests' name for their sessions

    def namespaces(self) -> list[str]:
        return sorted(p.name for p in NAMESPACES.glob(f"bigmachine-[0-9]*{self.mark}*"))

    def processes(self) -> list[int]:
        """List processes with the mark on their command line, or in the test's namespaces."""
        found = set()
        for namespace in self.namespaces():
            inside = ["ip", "netns", "pids", namespace]
            pids = subprocess.run(inside, capture_output=True, text=True).stdout
            found.update(map(int, pids.split()))
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
        return sorted(found - {os.getpid()})

    def leftovers(self) -> list[str]:
        left = [f"process {pid}" for pid in self.processes()] + self.namespaces()
        if not [*NAMESPACES.glob("bigmachine-[0-9]*")]:  # no other test runs meanwhile
            left += [p.name for p in NAMESPACES.glob("bigmachine-switch")]
            left += [p.name for p in INTERFACES.glob("bigmachine*")]
        return left

    def becomes_clean(self) -> bool:
        """Wait until nothing is left; return whether that is so."""
        try:
            return until(lambda: not self.leftovers(), within=SOON)
        except AssertionError:
            return False


@pytest.fixture
def computer() -> Iterator[Computer]:
    """A computer on which nothing is left after the test, even if the test fails."""
    from bigmachine_netns import NetnsSystem

    computer = Computer()
    yield computer

    async def reap() -> None:
        system = NetnsSystem()
        for instance in await system.instances():
            if computer.mark in instance.id:
                await system.stop(instance)

    # Once: a moment later, another test may just have made the switch for its first machine.
    left = [] if computer.becomes_clean() else computer.leftovers()
    trio.run(reap)
    assert not left
