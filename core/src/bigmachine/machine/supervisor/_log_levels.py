"""The levels of the driver's loggers, passed on to a machine when they change."""

from __future__ import annotations

import logging

from ...errors import BigmachineError
from ...logs._settings import LogSettings
from ...rpc import Connection
from ._client import supervisor

logger = logging.getLogger("bigmachine.machine")


class LogLevels:
    """Knows which levels one machine has from its driver: at first those that there are now."""

    def __init__(self) -> None:
        self._sent = LogSettings.of_this_process("")

    async def update(self, connection: Connection | None) -> None:
        """Send those that have changed; services may have set others, which stay."""
        present = LogSettings.of_this_process("")
        changed = present.changed_since(self._sent)
        if changed is None or connection is None:
            return
        try:
            await supervisor(connection).set_log_levels(changed)
            self._sent = present
        except BigmachineError as exc:  # the next keepalive tries again
            logger.debug("its loggers' levels could not be set: %s", exc)
