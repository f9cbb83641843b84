"""`InProcessSystem`: machines in this process, as tasks of the session's own trio loop.

Only the network and the processes are simulated. Client, server, certificates, TLS and
frames are those of every other system.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from ..._full_names import short_name
from ...boot import LaunchRequest, MachineSpec
from ...errors import NotSupportedError, StopReason, UsageError
from ...system import (
    Capability,
    Identity,
    Instance,
    Keepalive,
    Notice,
    System,
    Termination,
    check_options,
)
from ...system._options import option
from ._machine import InProcessMachine, end_all, running
from ._network import connect
from ._process_state import ProcessState

if TYPE_CHECKING:
    import httpx

    from ...machine._async import AsyncMachine
    from ...machine._sync import Machine

_CHUNK_BYTES = 1 << 18
_CLEANUP = 10.0  # machines end within a few rounds of the loop
# A machine that was told to end takes 2 ms, on a busy computer longer. `exited` must contain it.
_GRACE = 0.2


@dataclass(frozen=True, slots=True)
class InProcessOptions:
    """Options of the ``in-process`` system."""

    maxprocs: int = option(1, help="How many processors each machine has.")
    keepalive_period: float = option(
        60.0, help="How often a machine is asked for a sign of life, in seconds."
    )
    keepalive_timeout: float = option(
        120.0, help="How long a machine may be silent, or not be asked, in seconds."
    )
    rpc_timeout: float = option(10.0, help="How long each sign of life may take, in seconds.")


class InProcessSystem(System):
    """Machines that live in this process and start in milliseconds, for tests of programs.

    ::

        system = InProcessSystem()
        with bm.Session(system) as session:
            first, second = session.start(2, services={"PI": CirclePI()})
            system.kill(first)

    A test can `kill`, `partition`, `heal` and `reset` machines, and `give_notice` to them,
    from any thread. It names a machine by itself, by its `Instance` or by its name. All of
    this also works under `trio.testing.MockClock`.

    The machines share what a process has only once. The ``environ`` and ``argv`` given to
    ``session.start`` are set in `os.environ` and `sys.argv`, for all of them, until
    `shutdown` restores the old values. Their output is the output of the process. The
    thread of a ``def`` method continues after its machine was killed, until it returns.
    """

    name = "in-process"
    Options = InProcessOptions
    capabilities = frozenset({Capability.READ, Capability.CONSOLE, Capability.INSTANCES})
    uses_reaper = False  # its machines end with this process
    open_files_per_machine = 0  # its network is in memory
    boot_timeout = 60.0
    orphan_timeout = 5.0  # its machines are part of the driver

    options: InProcessOptions

    def __init__(self, options: InProcessOptions | None = None) -> None:
        super().__init__(options)
        self._begin()

    def __setstate__(self, state: Mapping[str, Any]) -> None:  # Any: a subclass's own
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:
        self._machines: dict[str, InProcessMachine] = {}  # that it started, by full name
        self._stopped: set[str] = set()  # their short names
        self._exited: dict[str, int] = {}
        self._process_state = ProcessState()
        self._here: InProcessMachine | None = None  # the machine that this object runs on, if any

    # -- what a test does to machines --------------------------------------------

    @property
    def exited(self) -> Mapping[str, int]:
        """The exit codes of the machines that ended themselves, by short name.

        0 if it was told to end, 1 if its driver was silent for too long.
        """
        return MappingProxyType(self._exited)

    def kill(self, machine: Machine | AsyncMachine | Instance | str) -> None:
        """End it as SIGKILL would: its connections end, and new ones are refused."""
        self._do(machine, InProcessMachine.kill)

    def reset(self, machine: Machine | AsyncMachine | Instance | str) -> None:
        """Break its connections and lose what is in transit; the machine keeps running."""
        self._do(machine, lambda it: it.host.reset())

    def partition(self, machine: Machine | AsyncMachine | Instance | str) -> None:
        """Let nothing in or out, without any error: new connections wait."""
        self._do(machine, lambda it: it.host.partition())

    def heal(self, machine: Machine | AsyncMachine | Instance | str) -> None:
        """Undo `partition`; delayed bytes arrive."""
        self._do(machine, lambda it: it.host.heal())

    def give_notice(self, machine: Machine | AsyncMachine | Instance | str, notice: Notice) -> None:
        """Give it a notice of its provider; after ``"interruption"``, `kill` is the provider's."""
        self._do(machine, lambda it: it.tell(notice))

    # -- on the driver -------------------------------------------------------------

    async def setup(self) -> None:
        """Check the options."""
        o = self.options
        check_options(
            o,
            maxprocs=None if o.maxprocs > 0 else "must be at least 1",
            keepalive_period=_positive(o.keepalive_period),
            keepalive_timeout=_positive(o.keepalive_timeout),
            rpc_timeout=_positive(o.rpc_timeout),
        )

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Start ``count`` machines, each a task of this loop."""
        machines: list[InProcessMachine] = []
        try:
            for _ in range(count):
                await trio.lowlevel.checkpoint()
                machines.append(self._launch(request.new_machine()))
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            with trio.move_on_after(_CLEANUP, shield=True):
                await end_all(machines)
            for machine in machines:
                self._machines.pop(machine.instance.name, None)
            raise
        return [machine.instance for machine in machines]

    def maxprocs(self) -> int:
        """Return the option ``maxprocs``."""
        return self.options.maxprocs

    def keepalive(self) -> Keepalive:
        """Return the timings of the options."""
        o = self.options
        return Keepalive(
            period=o.keepalive_period, timeout=o.keepalive_timeout, rpc_timeout=o.rpc_timeout
        )

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return how the machine ended; None while it runs, even if it is unreachable."""
        await trio.lowlevel.checkpoint()
        machine = self._machines.get(instance.name)
        if machine is None:
            return Termination(StopReason.EXITED, "it was stopped")
        return Termination(machine.reason, machine.exit_report) if machine.exit_report else None

    async def stop(self, instance: Instance) -> None:
        """End the machine, even if another system of this process started it."""
        machine = self._machines.get(instance.name) or running.get(instance.address)
        if machine is not None:
            try:
                with trio.move_on_after(_GRACE):
                    await machine.wait_ended()
            finally:  # cancelled or not
                machine.do(InProcessMachine.free)
            await machine.wait_ended()
            if self._machines.pop(instance.name, None) is not None:
                self._stopped.add(machine.short_name)

    async def shutdown(self) -> None:
        """End every machine that this object started, and undo what they changed in the process."""
        await end_all(self._machines.values())
        self._machines.clear()
        self._process_state.restore()

    async def read(self, instance: Instance, path: str) -> AsyncIterator[bytes]:
        """Read a file of this computer."""
        async with await trio.open_file(path, "rb") as file:
            while chunk := await file.read(_CHUNK_BYTES):
                yield chunk

    async def console(self, instance: Instance) -> str:
        """Return the traceback of a machine that failed."""
        await trio.lowlevel.checkpoint()
        machine = self._machines.get(instance.name) or running.get(instance.address)
        return machine.console if machine else ""

    async def instances(self) -> Sequence[Instance]:
        """List the machines of every in-process system in this process."""
        await trio.lowlevel.checkpoint()
        return [machine.instance for machine in tuple(running.values())]

    # -- on the driver and on machines -----------------------------------------------

    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        """Return a client that connects in memory, from the machine that it runs on, if any."""
        from ...rpc import http_client

        source = self._here.host if self._here else None
        return http_client(identity, connect=functools.partial(connect, source=source))

    # -- on the machine ----------------------------------------------------------------

    async def listen(self, address: str) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        """Return the listener of the machine at this address."""
        await trio.lowlevel.checkpoint()
        self._here = running.get(address)
        if self._here is None:
            raise UsageError(f"{address!r} is not a machine of this process")
        return [self._here.host]

    async def notices(self) -> AsyncIterator[Notice]:
        """Yield the notices of `give_notice`."""
        assert self._here is not None
        async for notice in self._here.told:
            yield notice

    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        """Raise `NotSupportedError`: there is no process to take over."""
        raise NotSupportedError("only its system can start an in-process machine")

    def exit(self, code: int) -> NoReturn:
        """End the machine; its task ends when it next waits for something."""
        if self._here is not None:
            self._here.do(lambda it: it.exit(code))
        raise SystemExit(code)

    def _launch(self, spec: MachineSpec) -> InProcessMachine:
        machine = self._machines[spec.name] = InProcessMachine(spec, exited=self._exited)
        machine.begin(spec.config, process_state=self._process_state)
        return machine

    def _do(
        self,
        machine: Machine | AsyncMachine | Instance | str,
        function: Callable[[InProcessMachine], object],
    ) -> None:
        """Call ``function`` with the machine; do nothing if it was stopped."""
        named: Any = getattr(machine, "instance", machine)
        name: str = named.name if isinstance(named, Instance) else named
        for full_name, found in self._machines.items():
            if name in (full_name, short_name(full_name)):
                found.do(function)
                return
        if short_name(name) not in self._stopped:
            known = ", ".join(short_name(name) for name in self._machines)
            raise UsageError(f"{name} is not a machine of this system (it has {known or 'none'})")


def _positive(seconds: float) -> str | None:
    return None if seconds > 0 else "must be more than 0"
