"""The start of machines: a request to the system, its instances, and the wait until they run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence

import trio

from .._events import MachinesRequested, MachinesStarted
from .._identity import Authority
from .._values import EnvironmentOptions, Instance, State
from ..boot._bootstrap import BootBatch, boot_seconds
from ..boot._config import Configurator
from ..boot._relays import Reachability
from ..boot._shipment import Shipment
from ..errors import BootError, StartError
from ..logs._settings import LogSettings
from ..machine._async import AsyncMachine
from ..machine.supervisor._service_batch import ServiceBatch
from ..process import allow_open_files
from ..progress._observer import Progress
from ..reaper._process import ReaperProcess
from ..rpc import _kept_exceptions as kept
from ..rpc import open_files_of_lanes
from ..rpc.memory import _switch as memory_switch
from ..services._check import check_services
from ..services._functions import interface_of
from ..system._plugins import Plugins
from ..system._request import LaunchRequest, machine_names
from ._cost import CostMeter
from ._fleet import Fleet

logger = logging.getLogger("bigmachine.session")


class Starter:
    """Starts the machines of one open session, whose tasks run in ``nursery``.

    The ``reaper`` is started before the first one, and ``meter`` bounds what they may cost. They
    join the ``fleet``. ``environment`` says what is sent to those that have none of the driver's
    code, ``progress`` shows how far they are, and ``log_mark`` marks the records that they log.
    """

    def __init__(
        self,
        plugins: Plugins,
        *,
        authority: Authority,
        fleet: Fleet,
        nursery: trio.Nursery,
        reaper: ReaperProcess,
        meter: CostMeter,
        environment: EnvironmentOptions,
        log_mark: str,
        progress: Progress,
    ) -> None:
        self.names = machine_names()
        """What they are called, in the order in which they are asked for."""
        self._plugins = plugins
        self._authority = authority
        self._fleet = fleet
        self._nursery = nursery
        self._reaper = reaper
        self._meter = meter
        self._environment = environment
        self._log_mark = log_mark
        self._progress = progress
        self._starts = 0  # calls of `start` in progress
        self._budget_lock = trio.Lock()
        self._reachability = Reachability()

    @property
    def is_starting(self) -> bool:
        """Whether any call of `start` is in progress."""
        return self._starts > 0

    async def start(
        self,
        n: int,
        services: Mapping[str, object] | None,
        *,
        environ: Mapping[str, str],
        argv: Sequence[str],
        wait: bool,
    ) -> list[AsyncMachine]:
        """Start machines; see `AsyncSession.start`."""
        files = n * self._plugins.system.open_files_per_machine
        if problem := allow_open_files(files, useful=open_files_of_lanes(n) if files else 0):
            raise StartError(f"can't start {n} machines: {problem}")
        service_batch = ServiceBatch(check_services(services), self._reachability)
        interfaces = {name: interface_of(service) for name, service in (services or {}).items()}
        switches = {**kept.environ(), **memory_switch.environ()}
        request = self._request({**switches, **environ}, argv)
        self._starts += 1
        try:
            async with self._progress.showing(n):
                if not wait:
                    await service_batch.copy()
                machines = await self._provision(n, request, service_batch, interfaces)
                if wait:
                    machines = await self._await_running(n, machines)
        finally:
            self._starts -= 1
        if len(machines) < n:
            logger.warning("%d of the %d machines asked for were started", len(machines), n)
        return machines

    def _request(self, environ: Mapping[str, str], argv: Sequence[str]) -> LaunchRequest:
        system, hooks = self._plugins.system, self._plugins.hooks
        return LaunchRequest(
            authority=self._authority,
            names=self.names,
            keepalive=hooks.keepalive(),
            argv=argv,
            environ=environ,
            configure=Configurator(
                system=system,
                maxprocs=hooks.maxprocs(),
                logs=LogSettings.of_this_process(self._log_mark),
                is_traced=self._plugins.takes_spans,
            ),
            credential_seconds=boot_seconds(system),
            owns_hosts=system.owns_hosts,
        )

    async def _provision(
        self,
        n: int,
        request: LaunchRequest,
        services: ServiceBatch,
        interfaces: Mapping[str, object],
    ) -> list[AsyncMachine]:
        """Have the system launch up to ``n`` instances; return a machine for each."""
        boot = await self._capture(request) if self._plugins.system.ships_environment else None
        instances = await self._launch(n, request)
        # No checkpoint until each instance has somebody who will free it.
        machines = [
            self._fleet.add(instance, services, interfaces=interfaces, boot=boot)
            for instance in instances
        ]
        self._plugins.notify(MachinesStarted(n, tuple(instances)))
        if not machines:
            raise StartError(f"system {self._plugins.system.name!r} started none of {n} machines")
        return machines

    async def _await_running(self, n: int, machines: Sequence[AsyncMachine]) -> list[AsyncMachine]:
        """Wait until each machine is ``RUNNING``, or has failed; return those that are."""
        try:
            for machine in machines:
                await machine.wait(State.RUNNING)
        except BaseException:  # cancelled: nobody will ever get these
            for machine in machines:
                machine.cancel()
            raise
        running = [machine for machine in machines if machine.state == State.RUNNING]
        if not running:
            error = machines[0].error
            raise StartError(f"none of {n} machines started. {_told_once(error)}") from error
        for machine in machines:
            if machine not in running:
                logger.warning("%s", machine.error)
        return running

    async def _launch(self, n: int, request: LaunchRequest) -> Sequence[Instance]:
        """Call the ``start`` hook, within the session's budget and the system's timeout."""
        timeout = self._plugins.system.start_timeout
        # With a limit, one at a time: each may spend what those before it have left.
        async with contextlib.nullcontext() if self._meter.limit is None else self._budget_lock:
            self._meter.check()
            request.remaining_budget = self._meter.remaining_budget
            self._plugins.notify(MachinesRequested(n))
            began = trio.current_time()
            with trio.move_on_after(timeout):
                await self._reaper.start(self._nursery)
                instances: Sequence[Instance] = await self._plugins.hooks.start(
                    count=n, request=request
                )
                self._meter.started(instances, since=began)
                return instances
        raise StartError(
            f"phase provision: system {self._plugins.system.name!r} had not started {n} machines "
            f"after {timeout:g} s; what it had started is undone"
        )

    async def _capture(self, request: LaunchRequest) -> BootBatch:
        """Capture the driver's environment, for machines that have none of its code."""
        began = trio.current_time()
        shipment = await Shipment.capture(self._environment, self._reachability)
        # If a machine turns out to have no index, most of the wheels are ready by then.
        self._nursery.start_soon(shipment.pack, name="bigmachine wheels")
        self._plugins.notify(shipment.event(trio.current_time() - began))
        return BootBatch(request, shipment)


def _told_once(error: BaseException | None) -> BaseException | None:
    """Leave the traceback to the error itself, which is shown as the cause."""
    if isinstance(error, BootError):
        return BootError(error.args[0], machine=error.machine, console=error.console)
    return error
