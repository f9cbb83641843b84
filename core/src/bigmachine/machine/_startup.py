"""How a machine starts: reach it, by way of its boot program if it has one; install services."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

from .._backoff import backoff
from .._events import BootProgress, Event
from ..boot._bootstrap import Bootstrap, PhaseFailed
from ..errors import BigmachineError, BootError, RemoteError
from ..rpc import Connection, ConnectionLost
from ._link import Link
from ._log import MachineLog
from .supervisor._client import supervisor
from .supervisor._service_batch import ServiceBatch

T = TypeVar("T")

logger = logging.getLogger("bigmachine.machine")


class Startup:
    """Starts one machine: `connect`, then `install`. What fails there is a `BootError`.

    ``bootstrap`` brings up a machine that begins with the boot program. ``services`` are those to
    install, if any; if a startup is given up, its owner drops them. ``timeout`` bounds the first
    connection, in seconds. ``console`` reads the machine's last lines, for errors, once ``log``
    has caught up.
    """

    def __init__(
        self,
        name: str,
        *,
        addr: str,
        link: Link,
        bootstrap: Bootstrap | None,
        services: ServiceBatch | None,
        timeout: float,
        log: MachineLog,
        console: Callable[[], Awaitable[str]],
    ) -> None:
        self._name = name
        self._addr = addr
        self._link = link
        self._bootstrap = bootstrap
        self._services = services
        if services is not None:
            services.join()
        self._timeout = timeout
        self._log = log
        self._console = console
        self.teardowns = 0
        """How many of the installed services have a ``teardown``."""

    async def connect(self, nursery: trio.Nursery) -> float:
        """Connect to the worker, in ``nursery``; return when the worker's clock began."""
        async with self._in_phase("connect"):
            try:
                if self._bootstrap is not None:
                    await self._bootstrap.run()
                began = trio.current_time()
                with trio.fail_after(self._timeout):
                    await self._link.first(nursery)
            except PhaseFailed as exc:
                assert self._bootstrap is not None
                raise await self._error(self._bootstrap.phase, str(exc)) from None
            except trio.TooSlowError as exc:
                message = f"not done after {self._timeout:.0f} s"
                if (last := self._link.first_error) is not None:
                    slow = "no answer in time" if isinstance(last, trio.TooSlowError) else ""
                    message += f"; the last attempt: {slow or last}"
                raise await self._error("connect", message) from exc
        return began

    async def install(self, nursery: trio.Nursery, *, maxprocs: int | None) -> int:
        """Install the services; return how many processors the machine has.

        No time bounds it, since a service may take long to set up: keepalives do.
        """
        if maxprocs is None:
            async with self._in_phase("services"):
                maxprocs = await self._until_answered(nursery, _maxprocs)
        if (services := self._services) is not None:
            for name in services.names:
                async with self._in_phase(f"service {name!r}"):
                    install = functools.partial(services.install, name)
                    self.teardowns += await self._until_answered(nursery, install)
            if services.is_kept_by(self._addr):
                nursery.start_soon(self._end_relay, services.is_over)
        self.drop_services()
        return maxprocs

    def drop_services(self) -> None:
        """Keep the services no longer, which may be large."""
        services, self._services = self._services, None
        if services is not None:
            services.leave(self._addr)

    async def _end_relay(self, is_over: trio.Event) -> None:
        """Have the machine keep nothing for others, as soon as no other needs it."""
        await is_over.wait()
        for pause in backoff():  # while others see to it that there is a connection again
            try:
                if (connection := self._link.connection) is not None:
                    await supervisor(connection).drop_services()
                    return
            except ConnectionLost as exc:
                logger.debug("%s: %s", self._name, exc)
            except BigmachineError:
                return
            await trio.sleep(pause)

    async def _until_answered(
        self, nursery: trio.Nursery, ask: Callable[[Connection], Awaitable[T]]
    ) -> T:
        """Ask what may be asked again, over a new connection when one is lost.

        Raises `ConnectionLost` with the reason, once the machine is gone, or if each connection is
        lost soon.
        """
        lost_soon = 0
        for pause in backoff():
            asked_at = trio.current_time()
            try:
                if (connection := self._link.connection) is not None:
                    return await ask(connection)
            except ConnectionLost as exc:
                logger.debug("%s: %s", self._name, exc)
                is_soon = trio.current_time() < asked_at + _SOON_SECONDS
                lost_soon = lost_soon + 1 if is_soon else 0
                if lost_soon == _MAX_LOSSES:
                    why = f"its connection was lost {lost_soon} times in a row, at last: {exc}"
                    raise ConnectionLost(why, addr=self._addr) from exc
            if (gone := await self._link.renew(nursery)) is not None:
                raise ConnectionLost(gone.detail, addr=self._addr)
            await trio.sleep(pause)
        raise AssertionError("the backoff has no end")

    @contextlib.asynccontextmanager
    async def _in_phase(self, phase: str) -> AsyncIterator[None]:
        """Turn what the block raises into a `BootError` of this phase."""
        try:
            yield
        except BootError:
            raise
        except ConnectionLost as exc:
            raise await self._error(phase, str(exc)) from exc
        except Exception as exc:
            message = f"{type(exc).__name__}: {exc}".rstrip(": ")
            if not isinstance(exc.__cause__, RemoteError):
                raise await self._error(phase, message) from exc
            # It has the machine's traceback, which its causes would show a second time.
            raise await self._error(phase, message, traceback=exc.__cause__.traceback) from None

    async def _error(self, phase: str, message: str, *, traceback: str = "") -> BootError:
        self.drop_services()  # before anybody hears of the failure
        if self._bootstrap is not None and phase == "connect":
            message = await self._bootstrap.exit_report() or message
        elif (connection := self._link.connection) is not None:
            await self._log.catch_up(connection)
        return BootError(
            f"{self._name} did not boot; it failed in phase {phase}: {message}",
            machine=self._name,
            phase=phase,
            traceback=traceback,
            console=await self._console(),
        )


# The network may fail again and again, but not so often: what is asked of the machine, or its
# answer, breaks each connection. To lose so many takes two minutes.
_MAX_LOSSES = 30
_SOON_SECONDS = 60.0


async def _maxprocs(connection: Connection) -> int:
    return (await supervisor(connection).info()).maxprocs


def progress_reporter(
    name: str, *, notify: Callable[[Event], None]
) -> Callable[[str, int, int], None]:
    """Return a function that tells observers how far a phase of the boot is.

    It takes the phase, what is done and the total; a total of 0 begins the phase.
    """
    began = 0.0

    def report(phase: str, done: int, total: int) -> None:
        nonlocal began
        now = trio.current_time()
        if not total:
            began = now
        notify(BootProgress(name, phase, done, total, now - began))

    return report
