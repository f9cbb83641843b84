"""A session: the driver's handle on one ad-hoc cluster."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import trio

from .._events import CostWarning, MachinesRequested, MachinesStarted, SessionClosed, SessionOpened
from .._identity import Authority
from .._values import Cost, EnvironmentOptions, Instance, State
from ..boot._bootstrap import BootBatch
from ..boot._config import WorkerConfig, configure_worker
from ..boot._shipment import Shipment
from ..errors import RpcError, StartError, StopReason, UsageError
from ..machine._async import AsyncMachine
from ..machine._lifecycle import Lifecycle
from ..machine._output import BootLog
from ..reaper._process import Sweeper
from ..rpc import dumps_whole, split_addr
from ..services._names import check_service_name
from ..system import System
from ..system._entrypoints import choose_system, load_observers
from ..system._options import environment_options
from ..system._plugins import Plugins
from ..system._request import LaunchRequest, machine_names
from ._cost import Meter

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.session")

_CLOSE_TIMEOUT = 180.0  # to free everything, whatever happened before


class AsyncSession:
    """An ad-hoc cluster, for as long as its ``async with`` block runs.

    ::

        async with AsyncSession("local") as session:
            machines = await session.start(5, services={"PI": CirclePI()})
            hits = await machines[0].call("PI.sample", 1_000_000)

    ``system`` is the name of an installed system (or a `System` already made), and
    ``options`` are that system's; see ``bigmachine systems``. ``profile`` chooses a
    set of options from ``bigmachine.toml``. ``plugins`` observe or wrap the
    system's hooks. ``name`` marks what the session makes. ``environment`` says what goes
    to machines that have none of the driver's code; where they have, it is of no effect.

    When the block ends, however it does, every machine is shut down and everything
    the session made is released.
    """

    def __init__(
        self,
        system: str | System | type[System] = "local",
        *,
        name: str | None = None,
        profile: str | None = None,
        plugins: Iterable[object] = (),
        environment: EnvironmentOptions | None = None,
        **options: Any,
    ) -> None:
        chosen = choose_system(system, profile=profile, keywords=options)
        self._plugins = Plugins(chosen, observers=plugins, installed=load_observers())
        self._environment = environment_options(
            environment, is_shipped=chosen.ships_environment, profile=profile
        )
        self._name = _session_name(name)
        self._meter = Meter(is_billed=chosen.is_billed, limit=chosen.max_session_cost)
        self._buying = trio.Lock()
        self._beginning = trio.Lock()
        self._sweeper: Sweeper | None = None
        self._machines: list[AsyncMachine] = []
        self._lives: set[Lifecycle] = set()
        self._boot_log = BootLog()
        self._names = machine_names()
        self._authority: Authority | None = None
        self._http: httpx.AsyncClient | None = None
        self._nursery: trio.Nursery | None = None
        self._stack = contextlib.AsyncExitStack()
        self._pid = os.getpid()

    @classmethod
    async def on_machine(cls, config: WorkerConfig, nursery: trio.Nursery) -> AsyncSession:
        """Make the session that a service's ``setup`` gets: it dials peers, and starts none."""
        session = cls.__new__(cls)
        session._plugins = Plugins(config.system)
        session._name = config.identity.session
        session._meter = Meter(is_billed=False)
        session._machines = []
        session._lives = set()
        session._boot_log = BootLog()
        session._authority = None
        session._nursery = nursery
        session._pid = os.getpid()
        session._http = session._plugins.hooks.http_client(identity=config.identity)
        return session

    def __repr__(self) -> str:
        return f"<Session {self.name} on {self._plugins.system.name!r}>"

    @property
    def name(self) -> str:
        """Its name, unique in the world: what everything it makes is marked with."""
        return self._name

    @property
    def system(self) -> System:
        """The session's system."""
        return self._plugins.system

    @property
    def machines(self) -> list[AsyncMachine]:
        """Its machines that are not ``STOPPED``, in the order they came."""
        return [machine for machine in self._machines if machine.state < State.STOPPED]

    @property
    def cost(self) -> Cost:
        """About what its machines have cost so far; also once it is closed.

        Nothing, and false, where they cost nothing. May be read in any thread.
        """
        return self._meter.cost

    async def __aenter__(self) -> AsyncSession:
        if self._nursery is not None:
            raise UsageError("a session is opened once; make another one")
        async with contextlib.AsyncExitStack() as stack:
            # First, so that what the system starts on the side comes up meanwhile.
            stack.push_async_callback(self._release)
            self.system.warm_up()
            await self._plugins.hooks.setup()
            self._authority = Authority(self.name)
            identity = self._authority.issue("driver")
            self._http = self._plugins.hooks.http_client(identity=identity)
            stack.push_async_callback(self._http.aclose)
            nursery = await stack.enter_async_context(_one_error_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            self._nursery = nursery
            if self._meter.limit is not None:
                nursery.start_soon(self._watch_cost, name="bigmachine cost")
            stack.push_async_callback(self.shutdown)
            self._plugins.notify(SessionOpened(self.name, self._plugins.system.name))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)

    async def start(
        self,
        n: int,
        *,
        services: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
    ) -> list[AsyncMachine]:
        """Start ``n`` machines with ``services`` installed; return 1 to ``n`` of them.

        Each machine gets its own copy of each service object, ``environ`` on top of
        its environment, and ``argv`` (by default the driver's) as `sys.argv`. With
        ``wait``, returns those that are ``RUNNING``, once each is or has failed.
        Fewer than ``n`` is a warning and an event; none is a `StartError`.

        Raises `UsageError`, before anything is started, for what can't be: no
        services, one that can't be pickled, ``n`` below 1.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise UsageError(f"the number of machines to start must be 1 or more, not {n!r}")
        authority, nursery = self._authority, self._nursery
        if nursery is None:
            raise UsageError("open the session first: `with Session(...) as session:`")
        if authority is None:
            raise UsageError("only the driver starts machines; a machine connects to its peers")
        pickled = _pickle_services(services or {})
        request = LaunchRequest(
            authority=authority,
            names=self._names,
            keepalive=self._plugins.hooks.keepalive(),
            argv=sys.argv if argv is None else argv,
            environ=environ or {},
            configure=functools.partial(
                configure_worker,
                system=self.system,
                maxprocs=self._plugins.hooks.maxprocs(),
            ),
        )
        batch = await self._capture(request, nursery) if self.system.ships_environment else None
        instances = await self._provision(n, request)
        # No checkpoint until each instance has somebody who will free it.
        machines = [self._adopt(nursery, instance, pickled, batch=batch) for instance in instances]
        self._machines = [*self.machines, *machines]
        self._plugins.notify(MachinesStarted(n, tuple(instances)))
        if wait:
            try:
                for machine in machines:
                    await machine.wait(State.RUNNING)
            except BaseException:  # cancelled: nobody will ever hold these
                for machine in machines:
                    machine.cancel()
                raise
            failed = [machine for machine in machines if machine.state != State.RUNNING]
            if failed and len(failed) == len(machines):
                raise StartError(f"none of {n} machines started. {failed[0].error}") from (
                    failed[0].error
                )
            for machine in failed:
                logger.warning("%s", machine.error)
            machines = [machine for machine in machines if machine not in failed]
        if not machines:
            raise StartError(f"system {self._plugins.system.name!r} started none of {n} machines")
        if len(machines) < n:
            logger.warning("%d of the %d machines asked for were started", len(machines), n)
        return machines

    async def _provision(self, n: int, request: LaunchRequest) -> Sequence[Instance]:
        timeout = self.system.start_timeout
        # With a limit one after the other, for each spends of what the one before it left.
        async with contextlib.nullcontext() if self._meter.limit is None else self._buying:
            self._meter.check()
            request.remaining_budget = self._meter.remaining_budget
            self._plugins.notify(MachinesRequested(n))
            began = trio.current_time()
            with trio.move_on_after(timeout):
                await self._begin_sweeper()
                instances: Sequence[Instance] = await self._plugins.hooks.start(
                    count=n, request=request
                )
                self._meter.started(instances, since=began)
                return instances
        raise StartError(
            f"phase provision: system {self.system.name!r} had not started {n} machines after "
            f"{timeout:g} s; what it had begun is undone"
        )

    async def _begin_sweeper(self) -> None:
        # On Windows nobody can wait for the pipe and look at the driver, too.
        if self.system.uses_reaper and sys.platform != "win32":
            async with self._beginning:
                if self._sweeper is None:
                    self._sweeper = await Sweeper.begin(self.system, session=self.name)

    async def connect(self, addr: str) -> AsyncMachine:
        """Dial a machine of this session that somebody else owns, by its ``addr``.

        Returns it ``RUNNING``; dialling the same address again returns the same
        object. Raises `RpcError` if it can't be reached or isn't who it should be.
        """
        address, name = split_addr(addr)
        if not name.endswith("." + self.name):
            raise UsageError(f"{addr} is a machine of another session than {self.name}")
        if self._nursery is None:
            raise UsageError("open the session first: `with Session(...) as session:`")
        for known in self.machines:
            if known.addr == addr:
                machine = known
                break
        else:
            machine = self._adopt(self._nursery, Instance(name=name, address=address), None)
            self._machines = [*self.machines, machine]
        await machine.wait(State.RUNNING)
        if machine.state == State.STOPPED and machine.error is not None:
            cause = machine.error.__cause__
            raise cause if isinstance(cause, RpcError) else machine.error
        return machine

    async def shutdown(self) -> None:
        """Free every machine; return when each is confirmed to be gone. Fine to call again."""
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            async with trio.open_nursery() as nursery:
                for machine in self._machines:
                    nursery.start_soon(machine.shutdown)

    async def _capture(self, request: LaunchRequest, nursery: trio.Nursery) -> BootBatch:
        began = trio.current_time()
        shipment = await Shipment.capture(self._environment)
        # Should a machine have no index, most of the wheels are made by then.
        nursery.start_soon(shipment.pack, name="bigmachine wheels")
        captured = shipment.event(trio.current_time() - began)
        logger.info("%s", captured)
        self._plugins.notify(captured)
        return BootBatch(request, shipment)

    def _adopt(
        self,
        nursery: trio.Nursery,
        instance: Instance,
        services: Mapping[str, bytes] | None,
        *,
        batch: BootBatch | None = None,
    ) -> AsyncMachine:
        assert self._http is not None
        life = Lifecycle(
            instance,
            plugins=self._plugins,
            http=self._http,
            services=services,
            boot_log=self._boot_log,
            batch=batch,
        )
        self._lives.add(life)
        nursery.start_soon(self._lead, life, name=f"bigmachine {life.name}")
        return AsyncMachine(life)

    async def _lead(self, life: Lifecycle) -> None:
        try:
            await life.run()
        finally:
            self._lives.remove(life)
            if life.is_freed:
                self._meter.freed(life.instance)

    async def _watch_cost(self) -> None:
        def warn(warning: CostWarning) -> None:
            logger.warning("%s", warning)
            self._plugins.notify(warning)

        def stop(why: str) -> bool:
            running = [life for life in self._lives if life.owned and life.state < State.STOPPED]
            if running:
                logger.warning("all machines are stopped: %s", why)
            for life in running:
                life.stop(StopReason.COST, why)
            return bool(running)

        await self._meter.watch(warn=warn, stop=stop)

    async def _release(self) -> None:
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await self._plugins.hooks.shutdown()
            if self._sweeper is not None:  # after what raised, it goes on when this process ends
                await self._sweeper.dismiss()
            self._meter.close()
        if cost := self.cost:
            logger.info("session %s: %s", self.name, cost)
        self._plugins.notify(SessionClosed(self.name, cost))


@contextlib.asynccontextmanager
async def _one_error_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that raises the block's own error, not a group of that one error."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise


def _session_name(name: str | None) -> str:
    """Return a name unique in the world that is a DNS name, as certificates want it."""
    label = re.sub(r"[^a-z0-9]+", "-", (name or socket.gethostname()).lower()).strip("-")
    return f"{label[:24] or 'session'}-{secrets.token_hex(4)}.bigmachine"


def _pickle_services(services: Mapping[str, object]) -> dict[str, bytes]:
    if not services:
        raise UsageError('no services: pass what the machines are to run, services={"Name": obj}')
    pickled = {}
    for name, service in services.items():
        check_service_name(name)
        if name == "Supervisor":
            raise UsageError("the service name 'Supervisor' is taken by every machine's own")
        try:
            pickled[name] = dumps_whole(service)
        except Exception as exc:
            raise UsageError(
                f"service {name!r} (a {type(service).__name__}) can't be pickled: {exc}; "
                "make what can't travel in its setup(), which runs on the machine"
            ) from exc
    return pickled
