"""The sync API of a session: each method runs its async twin in the session's trio loop.

The loop has a thread of its own, so keepalives go on while the program computes, and
it works beside a running asyncio loop, such as a notebook's.

trio is imported when a session opens, not before: meanwhile the system comes up.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Never, NoReturn, TypeVar

from .._values import (
    Cost,
    EnvironmentOptions,
    LogLine,
)
from ..errors import UsageError
from ..machine._log_lines import LogLines
from ..machine._sync import Machine, sync_api
from ..process import FORKED, open_standard_descriptors
from ..services._handle import Handle
from ..services._loading import check_may_block, check_not_loading
from ..services._tracebacks import short_tracebacks
from ..system import System
from ..system._entrypoints import choose_system
from ..system._options import environment_options
from ._arguments import DEFAULT_DEBUG_ADDRESS, check_session, check_start, debug_address
from ._cells import at_end_of_cells
from ._repr import SessionRepr

if TYPE_CHECKING:
    from ..machine._async import AsyncMachine
    from ..machine._portal import Portal
    from ..metrics import SessionVariables
    from ..profiling import Profile, ThreadDump
    from ._async import AsyncSession
    from ._loop_thread import LoopThread

T = TypeVar("T")


@short_tracebacks
class Session(SessionRepr, Handle):
    """An ad-hoc cluster, for as long as its ``with`` block runs.

    ::

        with Session("local") as session:
            machines = session.start(5, services={"PI": CirclePI()})
            hits = machines[0].call("PI.sample", 1_000_000)

    This is the sync API of `AsyncSession`. In a notebook the ``with`` may be left out:
    the session opens when it is first used, and `shutdown` or the interpreter's end
    closes it. Ctrl-C in a call cancels the call, also on the machine, and leaves the
    session usable. Safe to use from several threads. A process that is forked from its
    process can't use it: calls raise `UsageError`, and `shutdown` does nothing.
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
        check_session(name=name, profile=profile, plugins=plugins, environment=environment)
        self._system = choose_system(system, profile=profile, keywords=options)
        self._environment = environment_options(
            environment, is_shipped=self._system.ships_environment, profile=profile
        )
        self._name = name
        self._plugins = plugins
        debug_address(debug)  # which raises an error at once
        self._debug = debug
        self._pid: int | None = None  # of the process that has opened it
        # Taken again by its own thread if a signal handler shuts the session down.
        self._lock = threading.RLock()
        self._session: AsyncSession | None = None  # stays once it is closed
        self._thread: LoopThread | None = None  # stays, too
        self._opened: _Opened | None = None
        self._is_shut = False
        self._is_entered = False

    def _identity(self) -> tuple[str, str]:
        name = "" if self._session is None else self._session.name
        return name, "closed" if self._is_shut else "open" if self._opened else "not open"

    def __enter__(self) -> Session:
        self._open()
        with self._lock:
            if self._is_entered:  # the end of the inner block would close it for the outer one
                raise UsageError(
                    "the session is open in another `with` block, which closes it; use it without "
                    "`with` here, or make another one"
                )
            self._is_entered = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    async def __aenter__(self) -> NoReturn:
        raise UsageError("a Session opens by `with`; by `async with`, in trio, use AsyncSession")

    __aexit__ = __exit__  # which Python looks up first

    @property
    def name(self) -> str:
        """Its name, unique in the world; reading it opens the session."""
        return (self._session or self._open().session).name

    @property
    def system(self) -> System:
        """The session's system."""
        return self._system

    @property
    def machines(self) -> list[Machine]:
        """Its machines that are not ``STOPPED``, in the order they came."""
        if (opened := self._opened) is None or self._is_inherited:
            return []
        return [opened.sync(machine) for machine in opened.session.machines]

    @property
    def cost(self) -> Cost:
        """An estimate of what its machines have cost so far; see `AsyncSession.cost`."""
        return Cost() if self._session is None else self._session.cost

    def start(
        self,
        n: int,
        *positional: Never,
        services: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> list[Machine]:
        """Start ``n`` machines with ``services`` installed; return those that are ``RUNNING``.

        Each gets its own copy of each service, ``environ`` on top of its environment, and ``argv``
        (by default the driver's) as `sys.argv`. With ``wait=False``, returns once they are
        launched. If all fail, `StartError` is raised; see `AsyncSession.start`.
        """
        check_start(positional, unknown, wait)
        opened = self._open()
        machines = opened.run(
            opened.session.start, n, services=services, environ=environ, argv=argv, wait=wait
        )
        return [opened.sync(machine) for machine in machines]

    def connect(
        self, addr: str | Machine | AsyncMachine, *, timeout: float | None = None
    ) -> Machine:
        """Connect to a machine that it did not start; see `AsyncSession.connect`."""
        opened = self._open()
        return opened.sync(opened.run(opened.session.connect, addr, timeout=timeout))

    def variables(self, *, timeout: float | None = 5.0) -> SessionVariables:
        """Return the metrics of its machines and of this driver; see `AsyncSession.variables`."""
        opened = self._open()
        return opened.run(opened.session.variables, timeout=timeout)

    def profile(
        self, seconds: float = 10.0, *, hz: float = 100.0, timeout: float | None = 10.0
    ) -> Profile:
        """Profile all machines at once; see `AsyncSession.profile`."""
        opened = self._open()
        return opened.run(opened.session.profile, seconds, hz=hz, timeout=timeout)

    def heap(self, seconds: float = 0.0, *, timeout: float | None = 60.0) -> Profile:
        """Show what is in the memory of all machines; see `AsyncSession.heap`."""
        opened = self._open()
        return opened.run(opened.session.heap, seconds, timeout=timeout)

    def threads(self, *, timeout: float | None = 10.0) -> ThreadDump:
        """Return the stacks of all machines; see `AsyncSession.threads`."""
        opened = self._open()
        return opened.run(opened.session.threads, timeout=timeout)

    def logs(
        self, machine: str | Machine | AsyncMachine | None = None, *, follow: bool = True
    ) -> Iterator[LogLine]:
        """Return what a machine, or each, has printed and logged; see `AsyncSession.logs`.

        It also works when the session is shut down.
        """
        session, thread = self._session, self._thread
        if not self._is_shut or session is None or thread is None:
            session, thread = self._open().session, self._thread
        assert thread is not None
        return LogLines(session.logs(machine, follow=follow), run=thread.call_portal.run)

    def serve_debug(self, addr: str = DEFAULT_DEBUG_ADDRESS) -> str:
        """Serve a page about the session and its machines; see `AsyncSession.serve_debug`."""
        opened = self._open()
        return opened.run(opened.session.serve_debug, addr)

    def shutdown(self) -> None:
        """Free every machine and everything else; the session is over. May be called again.

        Returns when all is freed. In a process that was forked from the session's it does
        nothing: the session is not that process's.
        """
        if self._is_inherited:
            return
        self._is_shut = True  # from now on, nothing opens
        if (thread := self._thread) is not None and thread.is_current:
            thread.close_soon()  # in a destructor: this thread can't wait for itself
            return
        with self._lock:
            thread, self._opened = self._thread, None
        if thread is not None:
            from ._quit_signal import stop_handling_quit

            self._end_cells()
            atexit.unregister(self.shutdown)
            thread.close()
            stop_handling_quit()

    @property
    def _is_inherited(self) -> bool:
        """Whether a process that this one was forked from has opened the session."""
        return self._pid not in (None, os.getpid())

    def _open(self) -> _Opened:
        if self._is_inherited:
            raise UsageError(FORKED)
        if (opened := self._opened) is not None:
            return opened
        with self._lock:
            if self._opened is None:
                self._check_not_shut()
                self._pid = os.getpid()
                self._opened = self._open_now()
                atexit.register(self.shutdown)
                if self._is_shut:  # by a signal handler, while this thread opened it
                    self.shutdown()
                    self._check_not_shut()
            return self._opened

    def _open_now(self) -> _Opened:
        check_not_loading()
        check_may_block()
        open_standard_descriptors()
        # It comes up while the rest is imported, which takes as long.
        self._system.warm_up()
        from ._async import AsyncSession
        from ._loop_thread import LoopThread
        from ._quit_signal import handle_quit

        session = AsyncSession(
            self._system,
            name=self._name,
            plugins=self._plugins,
            environment=self._environment,
            debug=self._debug,
        )
        self._session = session
        self._thread = LoopThread(session)
        self._end_cells = at_end_of_cells(self._catch_up)
        handle_quit()
        return _Opened(session, self._thread.portal, sync_api(self._thread.call_portal))

    def _catch_up(self) -> None:
        with contextlib.suppress(UsageError):  # it is shut down meanwhile
            if self._opened is not None:
                self._opened.run(self._opened.session._catch_up)

    def _check_not_shut(self) -> None:
        if self._is_shut:
            raise UsageError("the session is shut down; open a new one")


class _Opened(NamedTuple):
    """An open session: with its loop, and its machines' sync APIs."""

    session: AsyncSession
    portal: Portal
    sync: Callable[[AsyncMachine], Machine]

    def run(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Run a method of the session in its loop, and wait for it."""
        from ..machine.calls._future import LoopEnded

        try:
            return self.portal.run(function, *args, **kwargs)
        except LoopEnded as exc:
            raise UsageError(str(exc)) from None
