"""What a caller needs of a connection to a machine, by frames or by POST."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import TransportError
from .._streams import IncomingStream


class Connection(ABC):
    """A connection to the ``machine`` at ``addr``; `dial` makes one.

    `run` serves it. Calls on a connection that ends raise `ConnectionLost`.
    """

    connects_per_call = False
    """Whether each call opens a connection of its own, so that there is none to replace."""

    addr: str
    machine: str
    is_open: bool

    @abstractmethod
    async def run(self) -> None:
        """Serve the connection until it ends."""

    @abstractmethod
    async def call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``"Service.method"`` and return what it returns.

        Cancelling the caller cancels the method. Raises what the method raised
        (see `RemoteError`), `UsageError` for arguments that can't be sent, and
        `ConnectionLost` when the connection ends first.
        """

    @abstractmethod
    async def stream(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> IncomingStream:
        """Call a generator method; return its items as an async iterator.

        Iterators and files among the arguments are uploaded meanwhile.
        """


class ConnectionLost(TransportError):
    """The connection itself ended; a call sent over it may raise other `TransportError`s."""
