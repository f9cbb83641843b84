"""The sync API of a session: each method runs its async twin in the session's trio loop.

The loop has a thread of its own, so keepalives go on while the program computes, and
it works beside a running asyncio loop, such as a notebook's.

trio is imported when a session opens, not before: meanwhile the system comes up.
"""

from __future__ import annotations

import atexit
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .._values import (
    Cost,
    EnvironmentOptions,
)
from ..errors import UsageError
from ..machine._sync import Machine, sync_api
from ..services._handle import Handle
from ..services._loading import check_not_loading
from ..services._tracebacks import short_tracebacks
from ..system import System
from ..system._entrypoints import choose_system
from ..system._options import environment_options

if TYPE_CHECKING:
    from ..machine._async import AsyncMachine
    from ..machine._portal import Portal
    from ._async import AsyncSession
    from ._loop_thread import LoopThread

T = TypeVar("T")


@short_tracebacks
class Session(Handle):
    """An ad-hoc cluster, for as long as its ``with`` block runs.

    ::

        with Session("local") as session:
            machines = session.start(5, services={"PI": CirclePI()})
            hits = machines[0].call("PI.sample", 1_000_000)

    This is the sync API of `AsyncSession`. In a notebook the ``with`` may be left out:
    the session opens when it is first used, and `shutdown` or the interpreter's end
    closes it. Ctrl-C in a call cancels the call, also on the machine, and leaves the
    session usable. Safe to use from several threads, but not after `os.fork`.
    """

    _instead = "a service's setup() gets a session of its own"

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
        self._system = choose_system(system, profile=profile, keywords=options)
        self._environment = environment_options(
            environment, is_shipped=self._system.ships_environment, profile=profile
        )
        self._name = name
        self._unique_name: str | None = None
        self._plugins = plugins
        self._thread: LoopThread | None = None
        self._opened: _Opened | None = None
        self._session: AsyncSession | None = None  # stays once it is closed
        self._is_shut = False

    def __repr__(self) -> str:
        return f"<Session on {self._system.name!r}>"

    def __enter__(self) -> Session:
        self._open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    @property
    def name(self) -> str:
        """Its name, unique in the world; reading it opens the session."""
        if self._unique_name is None:
            self._unique_name = self._open().session.name
        return self._unique_name

    @property
    def system(self) -> System:
        """The session's system."""
        return self._system

    @property
    def machines(self) -> list[Machine]:
        """Its machines that are not ``STOPPED``, in the order they came."""
        if self._opened is None:
            return []
        return [self._opened.sync(machine) for machine in self._opened.session.machines]

    @property
    def cost(self) -> Cost:
        """An estimate of what its machines have cost so far; see `AsyncSession.cost`."""
        return Cost() if self._session is None else self._session.cost

    def start(
        self,
        n: int,
        *,
        services: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
    ) -> list[Machine]:
        """Start ``n`` machines; see `AsyncSession.start`."""
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

    def shutdown(self) -> None:
        """Free every machine and everything else; the session is over. May be called again."""
        self._is_shut = True
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._opened = None
            atexit.unregister(self.shutdown)
            thread.close()

    def _open(self) -> _Opened:
        if self._opened is None:
            if self._is_shut:
                raise UsageError("the session is shut down; open a new one")
            check_not_loading()
            # It comes up while the rest is imported, which takes as long.
            self._system.warm_up()
            from ._async import AsyncSession
            from ._loop_thread import LoopThread

            session = AsyncSession(
                self._system,
                name=self._name,
                plugins=self._plugins,
                environment=self._environment,
            )
            self._session = session
            self._thread = LoopThread(session)
            self._opened = _Opened(session, self._thread.portal, sync_api(self._thread.call_portal))
            self._unique_name = session.name
            atexit.register(self.shutdown)
        return self._opened


class _Opened(NamedTuple):
    """An open session: with its loop, and its machines' sync APIs."""

    session: AsyncSession
    portal: Portal
    sync: Callable[[AsyncMachine], Machine]

    def run(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Run a method of the session in its loop, and wait for it."""
        from ..machine._future import LoopEnded

        try:
            return self.portal.run(function, *args, **kwargs)
        except LoopEnded as exc:
            raise UsageError(str(exc)) from None
