"""Which connections a server keeps: of strangers a few, and of each member of the session so many.

A stranger is who has not yet shown a certificate of the session. Anybody who reaches the port
can be one, so strangers get neither much time nor much memory, and never a member's place.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import trio

from ...errors import ProtocolError

logger = logging.getLogger("bigmachine.rpc")

MAX_STRANGERS = 128
"""The most connections whose peer is not known yet; one more ends the oldest of them."""

HANDSHAKE_TIMEOUT = 30.0
"""How long a stranger may take to become a member, in seconds."""

MAX_MEMBER_CONNECTIONS = 512
"""The most connections of one member of the session; one more is refused."""

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_PAUSE_SECONDS = 0.1  # until descriptors may be free again
_WARNING_SECONDS = 60.0  # between two warnings that there are none


class Admission:
    """Counts the connections of one server."""

    def __init__(self) -> None:
        self._strangers: dict[trio.CancelScope, None] = {}  # the oldest first
        self._members: Counter[str] = Counter()

    @contextlib.contextmanager
    def stranger(self) -> Iterator[None]:
        """Find out in this block who the peer is.

        `trio.TooSlowError` if that takes too long, or too many others come meanwhile.
        """
        with trio.CancelScope(deadline=trio.current_time() + HANDSHAKE_TIMEOUT) as scope:
            if len(self._strangers) >= MAX_STRANGERS:
                self.drop_oldest_stranger()
            self._strangers[scope] = None
            try:
                yield
            finally:
                self._strangers.pop(scope, None)
        if scope.cancelled_caught:
            raise trio.TooSlowError

    def drop_oldest_stranger(self) -> None:
        """End the connection of the stranger that has been one for longest."""
        if self._strangers:
            scope = next(iter(self._strangers))
            del self._strangers[scope]
            scope.cancel()

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[None]:
        """Serve a connection of a member in this block; `ProtocolError` if it has too many."""
        if self._members[name] >= MAX_MEMBER_CONNECTIONS:
            raise ProtocolError(f"{name} has {MAX_MEMBER_CONNECTIONS} connections already")
        self._members[name] += 1
        try:
            yield
        finally:
            self._members[name] -= 1
            if not self._members[name]:
                del self._members[name]


class AdmittingListener(trio.abc.Listener[Any]):
    """A listener that outlives a lack of descriptors: it then drops strangers, and waits."""

    def __init__(self, listener: trio.abc.Listener[Any], admission: Admission) -> None:
        self._listener = listener
        self._admission = admission
        self._warned = float("-inf")

    async def accept(self) -> Any:
        """Accept a connection."""
        while True:
            try:
                return await self._listener.accept()
            except OSError as exc:
                if exc.errno not in _NO_DESCRIPTORS:
                    raise
                if trio.current_time() >= self._warned + _WARNING_SECONDS:
                    self._warned = trio.current_time()
                    logger.warning("no connection can be accepted: %s", exc.strerror)
                self._admission.drop_oldest_stranger()
                await trio.sleep(_PAUSE_SECONDS)

    async def aclose(self) -> None:
        """Close the listener."""
        await self._listener.aclose()
