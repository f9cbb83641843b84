"""The machine's end of a lane: a connection that carries one call at a time.

A call through two trio loops costs many times what its bytes cost. Over a lane, who waits for the
reply reads it, and who runs the method reads the call. Each lane belongs to a multiplexed
connection, and ends with it; what must not wait for a method goes over that: above all, that a
call is given up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from ...transport._tls import TlsChannel
from ..calls._call import Call

MAX_SERVED_LANES = 64
"""The most lanes of one connection."""


class ServedLane(ABC):
    """A lane of one peer. All of its methods are called in the trio loop."""

    begun = 0
    """How many calls have begun over it that `CallLedger.begun` does not count before it ends."""

    @abstractmethod
    async def serve(self, channel: TlsChannel) -> None:
        """Serve calls over ``channel`` until either end closes it; once."""

    @abstractmethod
    def end(self) -> None:
        """End the lane, and cancel the call that runs over it."""

    @property
    @abstractmethod
    def calls(self) -> Iterator[Call]:
        """Those in flight."""

    @abstractmethod
    def cancel_calls(self) -> None:
        """Cancel the calls in flight."""

    @abstractmethod
    async def flushed(self) -> None:
        """Wait until all replies that are due so far are sent."""
