"""The machines of one session: those that it has started, and those that it is connected to."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import trio

from .._values import Instance, State, Termination
from ..boot._bootstrap import BootBatch
from ..errors import RpcError, TransportError, UsageError
from ..logs._kept import SessionLogs
from ..machine._async import AsyncMachine
from ..machine._controller import Controller
from ..machine._output import BootOutput
from ..machine._time_limits import Debugger
from ..machine.calls._options import seconds
from ..machine.output._stderr import StderrWriter
from ..machine.supervisor._service_batch import ServiceBatch
from ..rpc import split_addr
from ..system._plugins import Plugins
from ._arguments import address_of
from ._silence import Silence

if TYPE_CHECKING:
    import httpx

    from ..machine._sync import Machine


class Fleet:
    """The machines of ``session``, each led by a task in ``nursery``.

    Of those that the session has started, ``stderr`` writes what they print, ``logs`` keeps the
    last of it, and ``debugger`` debugs them. ``on_freed`` is called with each instance that its
    provider has confirmed to be gone.
    """

    def __init__(
        self,
        session: str,
        *,
        plugins: Plugins,
        http: httpx.AsyncClient,
        nursery: trio.Nursery,
        stderr: StderrWriter,
        logs: SessionLogs,
        on_freed: Callable[[Instance], None],
        debugger: Debugger | None = None,
    ) -> None:
        self._session = session
        self._plugins = plugins
        self._http = http
        self._nursery = nursery
        self._on_freed = on_freed
        self._debugger = debugger
        self._boot_output = BootOutput()
        self._stderr = stderr
        self._logs = logs
        self._machines: dict[Controller, AsyncMachine] = {}  # until the task that leads it ends
        self.unconfirmed: dict[str, Instance] = {}
        """Instances, by name, that were started and are not confirmed to be gone."""
        self._waiting = Counter[AsyncMachine]()  # how many connect to each
        self._silence = Silence(plugins.system.restore_access)

    @property
    def machines(self) -> list[AsyncMachine]:
        """Those that are not ``STOPPED``, in the order they came."""
        machines = [*self._machines.values()]  # at once: other threads read this, too
        return [machine for machine in machines if machine.state < State.STOPPED]

    def add(
        self,
        instance: Instance,
        services: ServiceBatch | None,
        *,
        interfaces: Mapping[str, object] | None = None,
        boot: BootBatch | None = None,
    ) -> AsyncMachine:
        """Take in an instance, and begin to lead it; see `Controller` for the arguments.

        From now on somebody will free it, and no checkpoint comes before.
        """
        controller = Controller(
            instance,
            plugins=self._plugins,
            http=self._http,
            services=services,
            interfaces=interfaces,
            boot_output=self._boot_output,
            stderr=self._stderr,
            logs=self._logs,
            set_silent=self._silence.set,
            boot=boot,
            debugger=self._debugger,
        )
        if controller.owned:
            self.unconfirmed[instance.name] = instance
        machine = self._machines[controller] = AsyncMachine(controller)
        self._nursery.start_soon(self._lead, controller, name=f"bigmachine {controller.name}")
        return machine

    async def connect(
        self, target: str | Machine | AsyncMachine, *, timeout: float | None = None
    ) -> AsyncMachine:
        """Return the machine with this ``addr``, ``RUNNING``; connect to it if it is new."""
        addr = address_of(target)
        limit = seconds("timeout", timeout)
        address, name = split_addr(addr)
        if not name.endswith("." + self._session):
            raise UsageError(f"{addr} is a machine of another session than {self._session}")
        known = (machine for machine in self.machines if machine.addr == addr)
        machine = next(known, None) or self.add(Instance(name=name, address=address), None)
        with (
            self._awaited(machine),
            trio.move_on_after(limit) as scope,
        ):
            await machine.wait(State.RUNNING)
        if scope.cancelled_caught:
            raise TransportError(f"{addr} did not answer within {limit:g} s", addr=addr)
        if machine.state == State.STOPPED and machine.error is not None:
            cause = machine.error.__cause__
            raise cause if isinstance(cause, RpcError) else machine.error
        return machine

    @contextlib.contextmanager
    def _awaited(self, machine: AsyncMachine) -> Iterator[None]:
        """Unless it is reached within the block, give up a machine that nobody waits for."""
        self._waiting[machine] += 1
        try:
            yield
        finally:
            self._waiting[machine] -= 1
            if not self._waiting[machine]:
                del self._waiting[machine]
                if machine.state < State.RUNNING and not machine.owned:
                    machine.cancel()

    def ask_now(self) -> None:
        """Ask all machines for a sign of life at once."""
        for controller in self._machines:
            controller.keepalive.ask_now()

    async def watch_silence(self) -> None:
        """Tell the system of machines that fall silent, until cancelled."""
        await self._silence.watch()

    async def was_active(self) -> bool:
        """Ask the machines that the session has started whether one had work since the last time.

        True if there are none, or if one may have had work; see `ActivityMonitor`.
        """
        is_active: list[bool] = []

        async def ask(controller: Controller) -> None:
            is_active.append(await controller.activity.was_active())

        async with trio.open_nursery() as nursery:
            for controller in self._owned():
                nursery.start_soon(ask, controller)
        return not is_active or any(is_active)

    @property
    def is_in_use(self) -> bool:
        """Whether the driver waits for one of those now."""
        return any(controller.activity.is_in_use for controller in self._owned())

    def stop_owned(self, gone: Termination) -> int:
        """Stop all machines that the session has started; return how many."""
        running = self._owned()
        for controller in running:
            controller.stop(gone)
        return len(running)

    async def shutdown(self) -> None:
        """Shut all down; return when those that the session has started are freed."""
        async with trio.open_nursery() as nursery:
            for machine in [*self._machines.values()]:
                nursery.start_soon(machine.shutdown)

    def _owned(self) -> list[Controller]:
        """Return those that the session has started, and that are not ``STOPPED``."""
        return [
            controller
            for controller in self._machines
            if controller.owned and controller.lifecycle.state < State.STOPPED
        ]

    async def _lead(self, controller: Controller) -> None:
        try:
            await controller.run()
        finally:
            del self._machines[controller]
            if controller.ending.is_freed:
                self.unconfirmed.pop(controller.instance.name, None)
                self._on_freed(controller.instance)
