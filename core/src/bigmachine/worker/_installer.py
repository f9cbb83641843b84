"""The user's services on a machine: installed one by one, and torn down in reverse order."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from ..errors import UsageError
from ..rpc import (
    PickledService,
    Server,
    Services,
    explain_asyncio,
    load_service,
)
from ..services._names import TEARDOWN_SECONDS
from ..services._parallel import has_parallel_methods
from ..services._tracebacks import shorten_traceback

logger = logging.getLogger("bigmachine.machine")

SetUp = Callable[[object], Coroutine[Any, Any, None]]


class Installer:
    """Installs services in ``services``, in tasks of ``nursery``.

    ``set_up`` calls a new service's own ``setup`` with a session. Services are unpickled in the
    threads of ``server``, which their methods need next.
    """

    def __init__(
        self, services: Services, *, server: Server, nursery: trio.Nursery, set_up: SetUp
    ) -> None:
        self._services = services
        self._server = server
        self._nursery = nursery
        self._set_up = set_up
        self._installations: dict[str, _Installation] = {}
        self._teardowns: dict[str, Callable[[], object]] = {}  # in the order of installation

    async def install(self, name: str, pickled: PickledService) -> bool:
        """Install a service, then run its ``setup`` if it has one; return if it has ``teardown``.

        May be called again with the same one, by a driver that has lost the reply: it joins an
        installation that is going on, or has succeeded. One that failed is tried again.
        """
        installation = self._installations.get(name)
        if installation is None:
            installation = self._installations[name] = _Installation(pickled.key)
            # A task of its own: when a connection ends, the calls that came over it are cancelled.
            self._nursery.start_soon(self._install, installation, name, pickled)
        elif installation.key != pickled.key:
            raise UsageError(f"a service named {name!r} is installed already")
        await installation.is_done.wait()
        if installation.error is not None:
            raise installation.error
        return name in self._teardowns

    @property
    def teardown_seconds(self) -> float:
        """How long `tear_down` may take."""
        return TEARDOWN_SECONDS * len(self._teardowns)

    async def tear_down(self) -> None:
        """Call the ``teardown`` of each service that has one, the last installed first.

        Each may take `TEARDOWN_SECONDS`. What it raises is logged.
        """
        while self._teardowns:
            name, teardown = self._teardowns.popitem()
            with trio.move_on_after(TEARDOWN_SECONDS) as scope:
                await self._tear_down(name, teardown)
            if scope.cancelled_caught:
                logger.error(
                    "service %r: teardown() has not ended after %g s; the machine ends without it",
                    name,
                    TEARDOWN_SECONDS,
                )

    async def _install(
        self, installation: _Installation, name: str, pickled: PickledService
    ) -> None:
        try:
            # In a thread: unpickling imports the service's modules, which may take seconds,
            # and keepalives must be answered meanwhile.
            load = functools.partial(_load, name, pickled)
            service, kept = await self._server.call_in_thread(load, name=f"installing {name}")
            del pickled, load
            self._services.add(name, service, pickled=kept)
            try:
                await self._server.run_in_task(functools.partial(self._set_up, service))
            except BaseException as exc:
                self._services.remove(name)
                if (error := explain_asyncio(f"{name}.setup", exc)) is exc:
                    raise
                raise error from exc
            if callable(teardown := getattr(service, "teardown", None)):
                self._teardowns[name] = teardown
        except BaseException as exc:  # SystemExit too: it is the service's, not the machine's
            installation.error = exc
            del self._installations[name]
            if isinstance(exc, trio.Cancelled):  # the machine ends
                raise
        finally:
            installation.is_done.set()

    async def _tear_down(self, name: str, teardown: Callable[[], object]) -> None:
        try:
            # In a task of its own, in case it can't be cancelled.
            await self._server.run_in_task(functools.partial(call_special, teardown))
        except trio.Cancelled:
            raise
        except BaseException as exc:
            shorten_traceback(exc)
            logger.error("service %r: teardown() failed", name, exc_info=exc)


class _Installation:
    """A service that is being installed, or was."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.is_done = trio.Event()
        self.error: BaseException | None = None


async def call_special(method: Callable[..., Any], *args: object) -> None:
    """Call a ``setup`` or ``teardown``: an ``async def`` in the loop, another one in a thread."""
    if inspect.iscoroutinefunction(method):
        result = method(*args)
    else:
        # In a list, because trio refuses a function that returns a coroutine.
        [result] = await trio.to_thread.run_sync(lambda: [method(*args)], abandon_on_cancel=True)
    if inspect.isawaitable(result):  # a decorator may hide an async def
        await result


def _load(name: str, pickled: PickledService) -> tuple[object, PickledService | None]:
    """Return the service; and for processes of its methods, if it has such, what it was."""
    # Before it is unpickled: a __setstate__ may write to its arrays.
    kept = pickled.copy() if pickled.is_parallel else None
    service = load_service(name, pickled)  # perhaps of another class than the driver has pickled
    if not has_parallel_methods(service):
        return service, None
    return service, pickled.copy() if kept is None else kept
