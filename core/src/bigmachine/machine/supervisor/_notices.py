"""The notices that the provider has given one machine, as its driver knows them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..._events import Event, MachineNotice
from ..._values import Notice, Termination
from ...errors import StopReason, sanitize_line
from ...rpc import Connection
from ._client import supervisor

logger = logging.getLogger("bigmachine.machine")


class ReceivedNotices:
    """Asks a machine for its notices, tells observers by ``notify``, and explains losses."""

    def __init__(self, name: str, *, notify: Callable[[Event], None]) -> None:
        self.all: tuple[Notice, ...] = ()
        self._name = name
        self._notify = notify

    async def ask(self, connection: Connection) -> None:
        """Wait for notices that are new, and take them."""
        for notice in await supervisor(connection).notices(len(self.all)):
            self.all += (notice,)
            logger.warning("%s: %s: %s", self._name, sanitize_line(notice.kind), notice)
            self._notify(MachineNotice(self._name, notice.kind, notice.detail, notice.at))

    def explain(self, gone: Termination) -> Termination:
        """Return the interruption that a loss was announced by, or the loss as it is.

        For losses that the provider itself does not explain.
        """
        for notice in reversed(self.all):
            if notice.kind == "interruption":
                detail = f"{gone.detail}, and before that there was notice: {notice}"
                return Termination(StopReason.INTERRUPTED, detail)
        return gone
