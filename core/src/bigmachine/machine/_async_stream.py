"""The async API of the items of one generator method."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import trio

from ..errors import UsageError
from ..rpc import ConnectionLost, IncomingStream, PickledCall
from ..services._handle import Handle
from .calls._calls import Calls
from .calls._observed_call import ObservedCall


class AsyncStream(Handle):
    """The items of a generator method: an async iterator and an async context manager."""

    _instead = "pass its items"

    def __init__(self, calls: Calls, call: PickledCall) -> None:
        self._calls = calls
        self._call = call
        self._incoming: IncomingStream | None = None
        self._opening = trio.CancelScope()
        self._deadline: float | None = None  # from the first item that was asked for
        self._is_receiving = self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open" if self._incoming else "not begun"
        return f"<Stream of {self._call.method} on {self._calls.machine}, {state}>"

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return (await self.receive(1))[0]

    async def receive(self, max_items: int | None = None) -> list[Any]:
        """Wait for an item; return it and those that have arrived, ``max_items`` at most.

        Raises `StopAsyncIteration` at the end. One task at a time may wait.
        """
        if self._is_receiving:
            raise UsageError(f"{self!r}: another task waits for its next item")
        self._is_receiving = True
        limits = self._calls.time_limits
        try:
            if self._calls.options.timeout == math.inf:
                return await self._receive(max_items)
            if self._deadline is None:
                self._deadline = limits.time() + self._calls.options.timeout
            with limits.until(self._deadline):
                return await self._receive(max_items)
        finally:
            self._is_receiving = False
        error = self._calls.timed_out(self._call.method)
        self._ended(error)
        self._close()
        raise error

    async def _receive(self, max_items: int | None) -> list[Any]:
        try:
            if self._incoming is None:
                await self._open()
            if self._is_closed or self._incoming is None:
                raise StopAsyncIteration
            return await self._incoming.receive(max_items)
        except ConnectionLost as exc:
            error = await self._calls.explain(exc)
        except trio.ClosedResourceError:  # by another task, meanwhile
            raise StopAsyncIteration from None
        except Exception as exc:  # its end, or what the generator raised
            self._ended(exc)
            raise
        self._ended(error)
        raise error

    async def _open(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._calls.open_streams.add(self)
        if type(self._call) is ObservedCall:
            self._call.start()
        try:
            with self._opening:
                self._incoming = await self._calls.open_stream(self._call)
        except BaseException as exc:
            self._is_closed = True  # as a generator that has raised
            if not isinstance(exc, ConnectionLost):  # whose reason is not known yet
                self._ended(exc)
            raise

    def _ended(self, end: BaseException) -> None:
        """Take note of its end, for which there may be several reasons: the first one counts."""
        self._calls.open_streams.discard(self)
        if type(self._call) is ObservedCall:
            self._call.stream_ended(self._incoming, end)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the generator on the machine, if it has not ended."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        self._is_closed = True
        self._ended(trio.ClosedResourceError())
        self._opening.cancel()
        if self._incoming is not None:
            self._incoming.close()

    def __del__(self) -> None:
        # Dropped before its end, perhaps in another thread: the generator must end, too.
        if not self._is_closed and self._incoming is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_drop, self._call, self._incoming)


def _drop(call: PickledCall, incoming: IncomingStream) -> None:
    if type(call) is ObservedCall:
        call.stream_ended(incoming, trio.ClosedResourceError())
    incoming.close()
