"""A driver in a process of its own, to be killed or stopped, and the machines it leaves."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
import trio

from bigmachine.system import Instance, Keepalive, System, hookimpl

from ._probe import Place, Probe
from ._processes import MARK, Process, find, marked

if TYPE_CHECKING:
    from bigmachine._identity import Identity

    from ._kit import Kit

_GRACE = 5.0  # seconds
_LOOK = 0.05


@dataclass(frozen=True)
class Order:
    """What a driver is to do; it then waits for its end."""

    system: type[System]
    options: Any  # each system has its own
    count: int
    keepalive: Keepalive | None = None
    has_children: bool = False


@dataclass(frozen=True)
class Report:
    """What a driver says: of a machine that is about to be launched, or of those that run."""

    named: int = 0
    instances: tuple[Instance, ...] = ()
    places: tuple[Place, ...] = ()
    identity: Identity | None = None


class Driver:
    """The handle on such a process."""

    def __init__(self, process: trio.Process, mark: str) -> None:
        self.process = process
        self.mark = mark
        self._received = bytearray()

    async def named(self, count: int) -> None:
        """Wait until the backend has asked for its ``count``-th machine."""
        while (await self._next()).named < count:
            pass

    async def running(self) -> Report:
        """Wait until the machines run."""
        while not (report := await self._next()).instances:
            pass
        return report

    def kill(self) -> None:
        """End it as the kernel would."""
        self.process.send_signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it: its files stay open, but it does nothing more."""
        self.process.send_signal(signal.SIGSTOP)

    def left(self) -> list[Process]:
        """List what was started by it, or for it, and still runs on this computer."""
        return [process for process in marked(self.mark) if process.pid != self.process.pid]

    async def _next(self) -> Report:
        assert self.process.stdout is not None
        while b"\n" not in self._received:
            part = await self.process.stdout.receive_some()
            if not part:
                status = await self.process.wait()
                raise AssertionError(
                    f"the driver ended by itself with status {status}; what it printed is above"
                )
            self._received += part
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        report: Report = pickle.loads(bytes.fromhex(line.decode()))
        return report


@contextlib.asynccontextmanager
async def driver(kit: Kit, order: Order) -> AsyncIterator[Driver]:
    """Run a driver for the length of the block; what is left of it a while later is killed."""
    mark = secrets.token_hex(8)
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, MARK: mark, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # Ctrl-C in the terminal is for the tests
    )
    handle = Driver(process, mark)
    try:
        assert process.stdin is not None
        await process.stdin.send_all(cloudpickle.dumps(order))
        await process.stdin.aclose()
        yield handle
    finally:
        kit.meter.charge(order.count)
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            # What takes a machine's things away is not to be cut off half-way.
            with trio.move_on_after(_GRACE):
                while handle.left():
                    await trio.sleep(_LOOK)
        for left in handle.left():
            left.kill()


def process_at(place: Place) -> Process | None:
    """Find a machine's process by what it said of itself, if this computer runs it."""
    return find(place.pid) if place.host == Probe().place().host else None


def main() -> None:
    """Be the driver: read the order from standard input, report on standard output."""
    order: Order = pickle.load(sys.stdin.buffer)
    reports = os.dup(1)
    os.dup2(2, 1)  # what anybody prints is for the reader, not for the kit

    def report(report: Report) -> None:
        os.write(reports, pickle.dumps(report).hex().encode() + b"\n")

    trio.run(_drive, order, report)


async def _drive(order: Order, report: Any) -> None:
    from bigmachine.session._async import AsyncSession

    watcher = _Watcher(order, report)
    system = order.system(order.options)
    async with AsyncSession(system, name="conformance-orphans", plugins=[watcher]) as session:
        machines = await session.start(order.count, services={"Probe": Probe()})
        if order.has_children:
            for machine in machines:
                await machine.call("Probe.start_child")
        places = [await machine.call("Probe.place") for machine in machines]
        report(
            Report(
                instances=tuple(machine.instance for machine in machines),
                places=tuple(places),
                identity=watcher.identity,
            )
        )
        await trio.sleep_forever()


class _Watcher:
    """A wrapper that reports machines as they are named, and sets the timings asked for."""

    def __init__(self, order: Order, report: Any) -> None:
        self._order = order
        self._report = report
        self.identity: Identity | None = None

    @hookimpl(wrapper=True)
    def keepalive(self) -> Any:
        keepalive = yield
        return self._order.keepalive or keepalive

    @hookimpl(wrapper=True)
    def http_client(self, identity: Identity) -> Any:
        self.identity = identity
        return (yield)

    @hookimpl(wrapper=True)
    def start(self, request: Any) -> Any:
        make, named = request.new_machine, 0

        def new_machine() -> Any:
            nonlocal named
            named += 1
            self._report(Report(named=named))
            return make()

        request.new_machine = new_machine
        return (yield)
