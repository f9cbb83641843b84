"""A lane to the loop, for ``async def`` methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import trio

from ...transport._lane_channel import keep_alive
from ...transport._tls import TlsChannel
from ..calls._call import Call
from ._served_lane import ServedLane


class LoopLane(ServedLane):
    """A connection like any other, which ends with the one that it belongs to.

    What makes a call faster is that its caller alone reads from it. ``new_connection`` serves it;
    ``removed`` is called when it ends.
    """

    def __init__(
        self,
        new_connection: Callable[[TlsChannel], LaneConnection],
        *,
        removed: Callable[[], object],
    ) -> None:
        self._new_connection = new_connection
        self._removed = removed
        self._connection: LaneConnection | None = None
        self._scope = trio.CancelScope()

    async def serve(self, channel: TlsChannel) -> None:
        keep_alive(channel.socket)
        try:
            with self._scope:
                self._connection = self._new_connection(channel)
                await self._connection.run()
        finally:
            self._removed()

    def end(self) -> None:
        self._removed()
        self.cancel_calls()  # else nobody would know of its call until that is cancelled
        self._scope.cancel()

    @property
    def calls(self) -> Iterator[Call]:
        if self._connection is not None:
            yield from self._connection.calls

    def cancel_calls(self) -> None:
        if self._connection is not None:
            self._connection.cancel_calls()

    async def flushed(self) -> None:
        if self._connection is not None:
            await self._connection.flushed()


class LaneConnection(Protocol):
    """The connection that a lane is, as `ServingConnection`."""

    @property
    def calls(self) -> Iterator[Call]: ...
    async def run(self) -> None: ...
    def cancel_calls(self) -> None: ...
    async def flushed(self) -> None: ...
