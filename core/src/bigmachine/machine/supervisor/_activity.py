"""Whether a machine has work: asked of the machine itself, which knows all its callers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from weakref import WeakSet

import trio

from ...rpc import Connection
from ...services._handle import Handle
from ._client import supervisor

logger = logging.getLogger("bigmachine.machine")


class ActivityMonitor:
    """Finds out whether one machine has work, or has had some since it was asked before.

    Work is a call of any method but the supervisor's, from the driver or from another machine,
    from the moment at which it is made until the method has ended; and a stream until its
    consumer has read or closed it. ``connection`` returns the machine's connection while it is
    ``RUNNING``. A machine that does not answer within ``timeout`` may have work.
    """

    def __init__(self, *, connection: Callable[[], Connection | None], timeout: float) -> None:
        self.open_streams: WeakSet[Handle] = WeakSet()
        """The driver's streams that have begun, and were not read to their end."""
        self._connection = connection
        self._timeout = timeout
        self._begun: int | None = None  # calls, when it was asked last

    @property
    def is_in_use(self) -> bool:
        """Whether the driver waits for it now, as far as it is known without asking."""
        connection = self._connection()
        return connection is None or connection.is_in_use or bool(self.open_streams)

    async def was_active(self) -> bool:
        """Ask the machine; True if it has had work since the last time, or may have had some."""
        connection = self._connection()
        with trio.move_on_after(self._timeout):
            try:
                if connection is not None:
                    begun, is_busy = await supervisor(connection).activity()
                    before, self._begun = self._begun, begun
                    return is_busy or begun != before or self.is_in_use
            except Exception as exc:  # of the machine's, too; the keepalives see to the connection
                logger.debug("it is not known whether a machine has work: %r", exc)
        return True
