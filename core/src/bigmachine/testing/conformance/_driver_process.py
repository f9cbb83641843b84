"""A driver in a process of its own, to be killed or frozen, and the machines that it leaves."""

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

from bigmachine.process import module_path, pack, python_environ, start_command
from bigmachine.system import Instance, Keepalive, System, hookimpl

from ._guardian import guardian
from ._probe import Place, Probe
from ._processes import MARK, HostProcess, find, marked

if TYPE_CHECKING:
    from bigmachine._identity import Identity

    from ._budget import Budget  # late: it needs pytest, and drivers start quickly

_GRACE = 5.0  # seconds
_POLL = 0.05


@dataclass(frozen=True)
class DriverJob:
    """What a driver does before it waits for its end."""

    system: type[System]
    options: Any  # each system has its own
    count: int
    keepalive: Keepalive | None = None
    has_children: bool = False
    deaths: tuple[int, ...] = ()
    """If given, drivers before this one are killed after so many steps of their start."""


@dataclass(frozen=True)
class DriverReport:
    """What a driver reports: the machines named so far, or those that run.

    ``deaths`` is how many drivers have died before it.
    """

    named: int = 0
    deaths: int = 0
    instances: tuple[Instance, ...] = ()
    places: tuple[Place, ...] = ()
    identity: Identity | None = None


class DriverProcess:
    """A driver that runs in a process of its own."""

    def __init__(self, process: trio.Process, mark: str) -> None:
        self.process = process
        self.mark = mark
        self._received = bytearray()

    async def named(self, count: int) -> None:
        """Wait until the backend has asked for its ``count``-th machine."""
        while (await self._next()).named < count:
            pass

    async def died(self, count: int) -> None:
        """Wait until ``count`` drivers before it have been killed."""
        while (await self._next()).deaths < count:
            pass

    async def running(self) -> DriverReport:
        """Wait until the machines run."""
        while not (report := await self._next()).instances:
            pass
        return report

    def contains(self, report: DriverReport) -> bool:
        """Whether the machines of ``report`` are parts of this very process."""
        return Place(Probe().place().host, self.process.pid) in report.places

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.send_signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Send SIGSTOP: its files stay open, but it does nothing more."""
        self.process.send_signal(signal.SIGSTOP)

    def left(self) -> list[HostProcess]:
        """List the processes that it, or anything that it started, has left on this computer."""
        return [process for process in marked(self.mark) if process.pid != self.process.pid]

    async def _next(self) -> DriverReport:
        assert self.process.stdout is not None
        while b"\n" not in self._received:
            part = await self.process.stdout.receive_some()
            if not part:
                status = await self.process.wait()
                raise AssertionError(f"the driver exited with status {status}; its output is above")
            self._received += part
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        report: DriverReport = pickle.loads(bytes.fromhex(line.decode()))
        return report


@contextlib.asynccontextmanager
async def run_driver(job: DriverJob, *, budget: Budget) -> AsyncIterator[DriverProcess]:
    """Run a driver during the block; processes that it leaves are killed after a grace period."""
    mark = secrets.token_hex(8)
    guardian().watch(mark, grace=job.system.orphan_timeout)
    process = await trio.lowlevel.open_process(
        start_command(f"{__name__}:main", 0),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=python_environ({**os.environ, MARK: mark}),
        start_new_session=True,  # Ctrl-C in the terminal must end the tests, not the driver
    )
    handle = DriverProcess(process, mark)
    try:
        assert process.stdin is not None
        await process.stdin.send_all(pack(module_path()) + cloudpickle.dumps(job))
        await process.stdin.aclose()
        yield handle
    finally:
        budget.charge(job.count)
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            # A process that cleans up after the driver must not be killed half-way.
            with trio.move_on_after(_GRACE):
                while handle.left():
                    await trio.sleep(_POLL)
        for left in handle.left():
            left.kill()


def process_at(place: Place) -> HostProcess | None:
    """Return the process of a machine if it runs on this computer."""
    return find(place.pid) if place.host == Probe().place().host else None


def main(header: dict[str, Any]) -> None:
    """Run the job that standard input holds; report on standard output."""
    sys.path[:] = dict.fromkeys([*header["path"], *sys.path])
    job: DriverJob = pickle.load(sys.stdin.buffer)
    reports = os.dup(1)
    os.dup2(2, 1)  # what others print must not mix with the reports

    def report(report: DriverReport) -> None:
        os.write(reports, pickle.dumps(report).hex().encode() + b"\n")

    for number, steps in enumerate(job.deaths, 1):
        if (pid := os.fork()) == 0:
            trio.run(_drive, job, lambda _: None, steps)
            os._exit(1)
        os.waitpid(pid, 0)
        report(DriverReport(deaths=number))
    if not job.deaths:
        trio.run(_drive, job, report)


async def _drive(job: DriverJob, report: Any, steps: int | None = None) -> None:
    from bigmachine.session._async import AsyncSession

    watcher = _Watcher(job, report)
    if steps is not None:
        trio.lowlevel.add_instrument(_Death(watcher, steps))
    system = job.system(job.options)
    async with AsyncSession(system, name="conformance-orphans", plugins=[watcher]) as session:
        machines = await session.start(job.count, services={"Probe": Probe()})
        if steps is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.has_children:
            for machine in machines:
                await machine.call("Probe.start_child")
        places = [await machine.call("Probe.place") for machine in machines]
        report(
            DriverReport(
                instances=tuple(machine.instance for machine in machines),
                places=tuple(places),
                identity=watcher.identity,
            )
        )
        await trio.sleep_forever()


class _Death(trio.abc.Instrument):
    """Kills this process after some steps of the loop, counted from the call of `start`."""

    def __init__(self, watcher: _Watcher, steps: int) -> None:
        self._watcher = watcher
        self._left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._watcher.has_started:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _Watcher:
    """A wrapper that reports each machine as it is named, and sets the requested timings."""

    def __init__(self, job: DriverJob, report: Any) -> None:
        self._job = job
        self._report = report
        self.identity: Identity | None = None
        self.has_started = False

    @hookimpl(wrapper=True)
    def keepalive(self) -> Any:
        keepalive = yield
        return self._job.keepalive or keepalive

    @hookimpl(wrapper=True)
    def http_client(self, identity: Identity) -> Any:
        self.identity = identity
        return (yield)

    @hookimpl(wrapper=True)
    def start(self, request: Any) -> Any:
        self.has_started = True
        make, named = request.new_machine, 0

        def new_machine() -> Any:
            nonlocal named
            named += 1
            self._report(DriverReport(named=named))
            return make()

        request.new_machine = new_machine
        return (yield)
