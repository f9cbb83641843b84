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
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, NoReturn

import trio

from .._events import (
    CostWarning,
    IdleWarning,
    SessionClosed,
    SessionOpened,
)
from .._full_names import session_name
from .._identity import DRIVER, Authority
from .._values import Cost, EnvironmentOptions, Termination
from ..debug._board import StatusBoard
from ..debug._local_socket import serve_local_socket
from ..debugger._debugger import SessionDebugger
from ..errors import BigmachineError, StopReason, UsageError
from ..logs._kept import SessionLogs
from ..machine._async import AsyncMachine
from ..machine.output._stderr import StderrWriter
from ..metrics import SessionVariables
from ..process import FORKED, end_child, open_standard_descriptors
from ..progress._observer import Progress
from ..reaper._process import ReaperProcess
from ..services._handle import Handle
from ..services._loading import check_not_loading
from ..system import System
from ..system._entrypoints import choose_system, load_observers
from ..system._options import environment_options
from ..system._plugins import Plugins
from ._arguments import (
    DEFAULT_DEBUG_ADDRESS,
    check_session,
    check_start,
    checked_argv,
    checked_environ,
    debug_address,
    machine_count,
)
from ._closing import close_in_time, late_text, one_error_nursery
from ._cost import CostMeter
from ._event_log import EventLog
from ._fleet import Fleet
from ._idle import IdleWatch, idle_timeout_of, is_interactive
from ._inspection import AsyncInspection
from ._log_thread import off_the_loop
from ._quit_signal import dumped_on_quit
from ._repr import SessionRepr
from ._starter import Starter
from ._suspension import watch_suspension
from ._variables import session_variables

if TYPE_CHECKING:
    import httpx

    from ..machine._sync import Machine

logger = logging.getLogger("bigmachine.session")

_CATCH_UP_SECONDS = 0.25


class AsyncSession(AsyncInspection, SessionRepr, Handle):
    """An ad-hoc cluster, for as long as its ``async with`` block runs.

    ::

        async with AsyncSession("local") as session:
            machines = await session.start(5, services={"PI": CirclePI()})
            hits = await machines[0].call("PI.sample", 1_000_000)

    ``system`` is the name of an installed system (or a `System` object), by default ``"local"``
    unless the variable ``BIGMACHINE_SYSTEM`` names another one; ``options`` are that system's; see
    ``bigmachine systems``. ``profile`` chooses a set of options from
    ``bigmachine.toml``. ``plugins`` observe or wrap the system's hooks. ``name`` becomes part
    of the session's name. ``environment`` says what is sent to machines that have none of the
    driver's code; it has no effect on other machines. ``debug`` is the address of a page about
    the session, or True for ``127.0.0.1:3333``; see `serve_debug`.

    When the block ends, for whatever reason, every machine is shut down and everything
    the session made is released.
    """

    _instead = "a service's setup() gets a session of its own"

    def __init__(
        self,
        system: str | System | type[System] | None = None,
        *,
        name: str | None = None,
        profile: str | None = None,
        plugins: Iterable[object] = (),
        environment: EnvironmentOptions | None = None,
        debug: str | bool | None = None,
        **options: Any,
    ) -> None:
        check_not_loading()
        check_session(name=name, profile=profile, plugins=plugins, environment=environment)
        chosen = choose_system(system, profile=profile, keywords=options)
        self._name = _session_name(name)
        self._meter = CostMeter(is_billed=chosen.is_billed, limit=chosen.max_session_cost)
        self._debug = debug_address(debug)
        self._is_debug_fixed = isinstance(debug, str)
        self._board = StatusBoard(
            self._name,
            system=chosen.name,
            machines=lambda: self.machines,
            cost=lambda: self.cost,
        )
        self._plugins = Plugins(
            chosen,
            observers=[EventLog(), self._board, progress := Progress(chosen), *plugins],
            installed=load_observers(),
        )
        self._progress = progress
        self._environment = environment_options(
            environment, is_shipped=chosen.ships_environment, profile=profile
        )
        self._idle_timeout = idle_timeout_of(chosen)
        self._reaper = ReaperProcess(chosen, session=self._name)
        self._logs = SessionLogs()
        self._stderr = StderrWriter(self._logs.mark)
        self._authority: Authority | None = None
        self._http: httpx.AsyncClient | None = None
        self._nursery: trio.Nursery | None = None
        self._fleet: Fleet | None = None
        self._starter: Starter | None = None
        self._stack = contextlib.AsyncExitStack()
        self._pid = os.getpid()
        self._is_left = False

    def _identity(self) -> tuple[str, str]:
        return self.name, "closed" if self._is_left else "open" if self._fleet else "not open"

    @property
    def name(self) -> str:
        """Its name, unique in the world; everything it makes is marked with it."""
        return self._name

    @property
    def system(self) -> System:
        """The session's system."""
        return self._plugins.system

    @property
    def machines(self) -> list[AsyncMachine]:
        """Its machines that are not ``STOPPED``, in the order they came."""
        return [] if self._fleet is None else self._fleet.machines

    @property
    def cost(self) -> Cost:
        """An estimate of what its machines have cost so far; also once it is closed.

        It is false if they cost nothing. It may be read in any thread.
        """
        return self._meter.cost

    def __enter__(self) -> NoReturn:
        raise UsageError("an AsyncSession opens by `async with`; by `with`, use Session")

    def __exit__(self, *_: object) -> None:
        """Never called; Python looks it up before it calls `__enter__`."""

    async def __aenter__(self) -> AsyncSession:
        if not trio.lowlevel.in_trio_run():
            raise UsageError(
                "an AsyncSession needs trio: run the program by trio.run(main), or use Session, "
                "which also works in asyncio and notebooks"
            )
        if self._nursery is not None:
            raise UsageError("a session is opened once; make another one")
        self._pid = os.getpid()
        self._reaper.check()
        open_standard_descriptors()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(off_the_loop([f"bigmachine.{self.system.name}"]))
            # First: what the system starts in the background comes up meanwhile.
            stack.push_async_callback(self._stderr.close)
            stack.callback(self._logs.close)
            stack.push_async_callback(self._release)
            self.system.warm_up()
            await self._plugins.hooks.setup()
            self._authority = Authority(self.name)
            identity = self._authority.issue(DRIVER)
            self._http = self._plugins.hooks.http_client(identity=identity)
            stack.push_async_callback(self._http.aclose)
            nursery = await stack.enter_async_context(one_error_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            self._nursery = nursery
            self._stderr.start()
            self._fleet = Fleet(
                self.name,
                plugins=self._plugins,
                http=self._http,
                nursery=nursery,
                stderr=self._stderr,
                logs=self._logs,
                on_freed=self._meter.freed,
                debugger=SessionDebugger(),
            )
            self._starter = Starter(
                self._plugins,
                authority=self._authority,
                fleet=self._fleet,
                nursery=nursery,
                reaper=self._reaper,
                meter=self._meter,
                environment=self._environment,
                log_mark=self._logs.mark,
                progress=self._progress,
            )
            self._watch(nursery, self._fleet, self._starter)
            await nursery.start(serve_local_socket, self._board, self)
            stack.enter_context(dumped_on_quit(self._board, self, nursery))
            stack.push_async_callback(self.shutdown)
            self._plugins.notify(SessionOpened(self.name, self._plugins.system.name))
            if self._debug is not None:
                await self._serve_debug(self._debug, is_fixed=self._is_debug_fixed)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_inherited:
            # The session's tasks are its parent's, and trio can't leave them: end here.
            end_child(exc)
        self._is_left = True
        await self._stack.__aexit__(exc_type, exc, traceback)

    async def start(
        self,
        n: int,
        *positional: Never,
        services: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> list[AsyncMachine]:
        """Start ``n`` machines with ``services`` installed; return 1 to ``n`` of them.

        Each machine gets its own copy of each service object as it is now; only its large arrays
        must not change before this returns. It gets ``environ`` on top of its environment, and
        ``argv`` (by default the driver's) as `sys.argv`. With ``wait``, returns those that are
        ``RUNNING``, once each is running or has failed. If some fail, a warning is logged; if
        all fail, `StartError` is raised.

        Raises `UsageError`, before anything is started, if there are no services, one of
        them can't be pickled, or ``n`` is below 1.
        """
        check_start(positional, unknown, wait)
        n = machine_count(n)
        environ = checked_environ(environ)
        argv = sys.argv if argv is None else checked_argv(argv)
        if self._starter is None:
            raise _not_open()
        if self._is_inherited:
            raise UsageError(FORKED)
        return await self._starter.start(n, services, environ=environ, argv=argv, wait=wait)

    async def connect(
        self, addr: str | Machine | AsyncMachine, *, timeout: float | None = None
    ) -> AsyncMachine:
        """Connect to a machine of this session that it did not start, by its ``addr``.

        Returns it ``RUNNING``; connecting to the same address again returns the same object.
        Raises `RpcError` if the machine can't be reached, if it does not answer within
        ``timeout`` seconds, or if another one answers. In place of the address, ``addr`` may be
        a machine object.
        """
        if self._fleet is None:
            raise _not_open()
        return await self._fleet.connect(addr, timeout=timeout)

    async def variables(self, *, timeout: float | None = 5.0) -> SessionVariables:
        """Return the metrics of its machines and of this driver: merged, and each.

        A machine that does not answer within ``timeout`` seconds, or that is not ``RUNNING`` yet,
        is named in `SessionVariables.missing`.
        """
        return await session_variables(self.machines, timeout=timeout)

    async def serve_debug(self, addr: str = DEFAULT_DEBUG_ADDRESS) -> str:
        """Serve a page about the session and its machines at ``HOST:PORT``, until it is closed.

        Returns the page's URL, and prints it: its token lets in those who have it, and nobody else.
        Port 0 is any free one. Raises `UsageError` if the address can't be used.
        """
        return await self._serve_debug(addr)

    async def _serve_debug(self, addr: str, *, is_fixed: bool = True) -> str:
        from ..debug._server import serve_debug

        if self._nursery is None:
            raise _not_open()
        return await serve_debug(
            self._board, addr, session=self, nursery=self._nursery, is_fixed=is_fixed
        )

    async def _catch_up(self) -> None:
        """Show what machines have printed so far, if that takes but a moment."""
        await self._stderr.catch_up(within=_CATCH_UP_SECONDS)

    async def shutdown(self) -> None:
        """Free every machine; return when each is confirmed to be gone. May be called again."""
        if self._fleet is not None and not self._is_inherited:
            await close_in_time(self._fleet.shutdown, late=self._late_text)

    @property
    def _is_inherited(self) -> bool:
        """Whether this is a child of the process that has opened it, which alone may end it."""
        return os.getpid() != self._pid

    def _watch(self, nursery: trio.Nursery, fleet: Fleet, starter: Starter) -> None:
        """Begin to watch over its machines' silence and idleness, and over what they cost."""

        def warn(warning: CostWarning | IdleWarning) -> None:
            logger.warning("%s", warning)
            self._plugins.notify(warning)

        def stop(reason: StopReason, why: str) -> bool:
            stopped = fleet.stop_owned(Termination(reason, why))
            if stopped:
                logger.warning("all machines are stopped: %s", why)
            return bool(stopped)

        nursery.start_soon(fleet.watch_silence, name="bigmachine silence")
        if self.system.ships_environment:  # machines are on other computers
            nursery.start_soon(watch_suspension, fleet.ask_now, name="bigmachine sleep")
        if self._meter.limit is not None:
            watch_cost = functools.partial(
                self._meter.watch, warn=warn, stop=functools.partial(stop, StopReason.COST)
            )
            nursery.start_soon(watch_cost, name="bigmachine cost")
        if self._idle_timeout is not None or (self.system.is_billed and is_interactive()):
            watch = IdleWatch(
                self._idle_timeout,
                was_active=fleet.was_active,
                is_in_use=lambda: starter.is_starting or fleet.is_in_use,
                cost=lambda: self.cost,
                warn=warn,
                stop=functools.partial(stop, StopReason.IDLE),
            )
            nursery.start_soon(watch.run, name="bigmachine idle")

    async def _release(self) -> None:
        if self._is_inherited:
            return

        async def release() -> None:
            await self._plugins.hooks.shutdown()
            # If that raised, the reaper stays, and frees the rest once this process ends.
            await self._reaper.dismiss()
            self._meter.close()

        if not await close_in_time(release, late=self._late_text):
            raise BigmachineError(self._late_text())
        self._plugins.notify(SessionClosed(self.name, self.cost))

    def _late_text(self) -> str:
        left = self._fleet.unconfirmed.values() if self._fleet is not None else ()
        return late_text(self.name, self.system, left)


def _not_open() -> UsageError:
    return UsageError("open the session first: `async with AsyncSession(...) as session:`")


def _session_name(name: str | None) -> str:
    """Return a name that is unique in the world, and a DNS name, as certificates need it."""
    label = re.sub(r"[^a-z0-9]+", "-", (name or socket.gethostname()).lower()).strip("-")
    return session_name(f"{label[:24] or 'session'}-{secrets.token_hex(4)}")
