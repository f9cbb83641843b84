"""How a machine ends: it is asked to, where it can be; then it is freed in any case."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from .._values import Instance, Keepalive, instance_text
from ..errors import BigmachineError
from ..rpc import Connection, dial
from ..services._names import TEARDOWN_SECONDS
from ..system._plugins import Plugins
from ._log import MachineLog
from .supervisor._client import supervisor

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.machine")

_ANSWER_SECONDS = 2.0  # a machine that hangs, or can't be reached, doesn't answer
_END_SECONDS = 5.0  # for its calls and exit handlers; see `worker._serve`
_STOP_SECONDS = 120.0  # for a provider to confirm that an instance is gone


class Ending:
    """Ends the machine of ``instance``.

    ``teardowns`` says how many of its services have one. ``log`` is what it prints until the end,
    if it is read over the wire; else None.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        http: httpx.AsyncClient,
        plugins: Plugins,
        timings: Keepalive,
        teardowns: Callable[[], int],
        log: MachineLog | None,
    ) -> None:
        self.is_freed = False
        """Whether its provider has confirmed that it is gone."""
        self._instance = instance
        self._http = http
        self._plugins = plugins
        self._timings = timings
        self._teardowns = teardowns
        self._log = log
        self._was_asked = False

    async def ask(self, connection: Connection) -> None:
        """Have the machine end in good order; return when it has, or does not answer."""
        self._was_asked = True
        with (
            trio.move_on_after(self._answer_seconds) as scope,
            contextlib.suppress(BigmachineError),
        ):
            await supervisor(connection).ping()
            scope.deadline = trio.current_time() + _END_SECONDS
            scope.deadline += self._teardowns() * TEARDOWN_SECONDS
            await supervisor(connection).shutdown()

    async def ask_anew(self) -> None:
        """Do the same over a new connection, once the old one has ended; unless it was asked."""
        if self._was_asked:
            return
        with trio.move_on_after(self._answer_seconds) as dialling:
            try:
                async with (
                    dial(self._http, self._instance.addr) as connection,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(connection.run)
                    dialling.deadline = math.inf
                    if self._log is not None:
                        nursery.start_soon(self._log.follow, _returning(connection))
                    await self.ask(connection)
                    nursery.cancel_scope.cancel()
            except Exception as exc:  # in any case it is freed
                logger.debug("%s: it could not be asked to end: %r", self._instance.name, exc)

    async def free(self) -> None:
        """Have its provider end it."""
        with trio.move_on_after(_STOP_SECONDS) as scope:
            try:
                await self._plugins.hooks.stop(instance=self._instance)
                self.is_freed = True
            except Exception:
                logger.exception("%s: it could not be freed", instance_text(self._instance))
        if scope.cancelled_caught:
            logger.error(
                "%s: not confirmed to be gone after %g s: it may still run; the end of the session "
                "tries again",
                instance_text(self._instance),
                _STOP_SECONDS,
            )

    @property
    def _answer_seconds(self) -> float:
        return min(_ANSWER_SECONDS, self._timings.rpc_timeout)


def _returning(connection: Connection) -> Callable[[], Awaitable[Connection]]:
    async def connected() -> Connection:
        await trio.lowlevel.checkpoint()
        return connection

    return connected
