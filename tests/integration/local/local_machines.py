"""Local machines for tests: real processes, each of which runs a given script."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from bigmachine._identity import Authority
from bigmachine.boot import LaunchRequest, MachineSpec, WorkerConfig
from bigmachine.boot._config import Configurator
from bigmachine.system import Instance
from bigmachine.system._request import machine_names
from bigmachine_local import LocalOptions, LocalSystem

SLEEP = "import signal\nwhile True: signal.pause()"


prepared: list[bytes] = []


def prepare(authority: bytes) -> None:
    """Take note of the authority: in the zygote, and so in the machines that it forks."""
    prepared.append(authority)


def main(config: bytes, *, listen: str, lifeline: int) -> None:
    """A minimal worker: runs its script, and ends when its lifeline closes."""

    def follow() -> None:
        while os.read(lifeline, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()
    script = WorkerConfig.load(config).environ["SCRIPT"]
    exec(script, {"listen": listen, "lifeline": lifeline})


class ScriptSystem(LocalSystem):
    """The local system with the minimal worker."""

    entry = f"{__name__}:main"


@dataclass(frozen=True, slots=True)
class ScriptMachine(MachineSpec):
    """A spawned machine, whose command runs the minimal worker."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, __file__]


class ScriptRequest(LaunchRequest):
    """A request for machines that run ``script``."""

    def __init__(self, system: LocalSystem, script: str, prefix: str = "m") -> None:
        super().__init__(
            authority=Authority("test.bigmachine"),
            names=machine_names(prefix),
            keepalive=system.keepalive(),
            argv=(),
            environ={"SCRIPT": script},
            configure=Configurator(system=system, maxprocs=1),
        )

    def new_machine(self) -> MachineSpec:
        spec = super().new_machine()
        return ScriptMachine(spec.name, spec.config, spec.request)


@contextlib.asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[ScriptSystem]:
    """Set up a system, and shut it down afterwards."""
    system = ScriptSystem(LocalOptions(**options))
    await system.setup()
    try:
        yield system
    finally:
        with trio.CancelScope(shield=True):
            await system.shutdown()


async def start_one(system: LocalSystem, script: str, prefix: str = "m") -> Instance:
    """Start one machine that runs ``script``."""
    (instance,) = await system.start(1, ScriptRequest(system, script, prefix))
    return instance


async def first_line(system: LocalSystem, instance: Instance) -> bytes:
    """Wait for the first line that a machine prints, which also shows that it runs."""
    async for line in system.tail(instance):
        return line
    raise AssertionError("the machine printed nothing")


async def ended(pid: int) -> None:
    """Wait until a process has ended."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)


def children() -> set[int]:
    """The process ids of this process's children, zombies included.

    Without the conformance kit's guardian, which lives on if the kit ran here before.
    """
    return {pid for pid in children_of(os.getpid()) if not _is_guardian(pid)}


def _is_guardian(pid: int) -> bool:
    try:
        return b"conformance/_processes.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def children_of(pid: int) -> set[int]:
    """The process ids of another process's children, zombies included."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def descriptors() -> dict[int, str]:
    """The open file descriptors of this process, and the files that they refer to."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[int(entry.name)] = os.readlink(entry)
    return found


@contextlib.contextmanager
def used_port() -> Iterator[int]:
    """A port of this computer that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def two_free_ports() -> int:
    """Return a port of this computer that is free, as is the next one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                socket.create_server(("127.0.0.1", port + 1)).close()
                return port


if __name__ == "__main__":
    with open(0, "rb", closefd=False) as stdin:
        size = stdin.read(8)
        header = stdin.read(int.from_bytes(size, "big"))
        received = size + header + pickle.dumps(pickle.load(stdin))
    sys.stdout.reconfigure(line_buffering=True)
    main(received, listen=sys.argv[2], lifeline=0)
