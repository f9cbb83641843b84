"""Print how many kB of memory a bigmachine driver needs for each of 1,000 machines.

Only the driver is measured, so the machines are tasks of one other process, which the
driver reaches by loopback as it does any machine. 1,000 processes would need 8 GB.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import trio

import bigmachine as bm
from benchmarks._processes import unshared_bytes
from benchmarks._service import Bench

if TYPE_CHECKING:
    from bigmachine.boot import MachineSpec

MACHINES = 1000
WARM_UP_MACHINES = 20  # before those that count: caches, pools, lazy imports
MACHINES_PROGRAM = "from benchmarks.contestants._driver_memory import run_machines; run_machines()"


class TaskSystem(bm.System):
    """Machines that are tasks of one process, other than the driver's."""

    name = "task"
    boot_timeout = 60.0

    _process: trio.Process | None = None  # the machines'

    def maxprocs(self) -> int:
        return 1

    async def setup(self) -> None:
        if self._process is None:
            self._lock = trio.Lock()
            # It ends with this process, which never closes its input.
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-c", MACHINES_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    async def launch(self, spec: MachineSpec) -> bm.Instance:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._lock:  # the next port printed is then this machine's
            await process.stdin.send_all(pickle.dumps(spec.config))
            line = b""
            while not line.endswith(b"\n"):
                received = await process.stdout.receive_some()
                assert received, "the machines' process ended"
                line += received
        return bm.Instance(spec.name, f"127.0.0.1:{int(line)}")

    async def listen(self, address: str) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        listeners = await super().listen(address)
        listener: Any = listeners[0]  # a listener on a socket: the address is no `fd:N`
        print(listener.socket.getsockname()[1], flush=True)
        return listeners

    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        raise MainCalled(serve)


class MainCalled(Exception):
    """A machine would run `serve` now, in a trio loop of its own."""

    def __init__(self, serve: Callable[[], Awaitable[None]]) -> None:
        self.serve = serve


def run_machines() -> None:
    """Run a machine for each configuration on standard input, until that ends."""
    from bigmachine import worker

    raise_file_limit()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    config = await trio.to_thread.run_sync(pickle.load, sys.stdin.buffer)
                except EOFError:
                    os._exit(0)
                try:
                    worker.main(config, listen="127.0.0.1:0")
                except MainCalled as called:
                    nursery.start_soon(called.serve)

    trio.run(run)


def main() -> None:
    """Measure, print, and exit without stopping the machines one by one."""
    raise_file_limit()
    trio.run(measure)


async def measure() -> None:
    async with bm.AsyncSession(TaskSystem) as session:
        await session.start(WARM_UP_MACHINES, services={"Bench": Bench()})
        before = unshared_bytes(os.getpid())
        machines = await session.start(MACHINES, services={"Bench": Bench()})
        assert len(machines) == MACHINES
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what malloc keeps free varies by up to 57 kB
        driver_kb = (unshared_bytes(os.getpid()) - before) / MACHINES / 1e3
        print(json.dumps({"driver_kb": driver_kb}), flush=True)
        os._exit(0)


def raise_file_limit() -> None:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
