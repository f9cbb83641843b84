"""A call that arrived as a POST request; its outcome is the response."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import trio

from ....errors import BigmachineError, UsageError
from ..._exceptions import CallError, load_exception
from ..._frames import Frame, Kind, Payload
from ..._payload import dumps, loads
from ..._protocol import STATUS_RAISED
from .._encodings import Encoding
from .._registry import Method
from ..pools._pools import Pools
from ._call import Call


class PostCall(Call):
    """Makes a response of what the method returns or raises; it can't stream."""

    def __init__(
        self,
        method: Method,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        encoding: Encoding,
        pools: Pools,
    ) -> None:
        super().__init__(method, pools, perf_counter())
        self._args = args
        self._kwargs = kwargs
        self._encoding = encoding
        self._response = 0, b""
        self._is_done = trio.Event()

    async def response(self) -> tuple[int, bytes]:
        """Run the method; return the status and the body. Cancelling this cancels the method."""
        self._pools.ledger.add_post(self)
        self.start()
        try:
            await self._is_done.wait()
        except trio.Cancelled:
            self.method.calls.count_cancelled()
            self.cancel()
            raise
        finally:
            self._pools.ledger.discard_post(self)
        self.method.calls.finished(self._began, raised=self._response[0] == STATUS_RAISED)
        return self._response

    def load_arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        return self._args, self._kwargs

    def pickled_arguments(self) -> Payload:
        return dumps((self._args, self._kwargs))

    def returned(self, result: object) -> Callable[[], None]:
        if isinstance(result, Iterator):
            raise self._is_generator()
        body = self._encoding.dump_result(self.method.name, result)
        return functools.partial(self._finish, 200, body)

    def replied(self, kind: int, payload: Payload) -> Callable[[], None]:
        name = self.method.name
        frame = Frame(kind, 0, 0, name, payload.chunks[0], payload.buffers, payload.size)
        if kind == Kind.REPLY:
            return self.returned(loads(frame))
        error = load_exception(frame, addr="", method=name, machine="its machine")
        # A method's exception has a RemoteError as its cause; bigmachine's own errors have none.
        if isinstance(error, BigmachineError) and error.__cause__ is None:
            error = CallError(error)
        return self.raised(error)

    def raised(self, exc: BaseException) -> Callable[[], None]:
        return functools.partial(self._finish, STATUS_RAISED, self._encoding.dump_error(exc))

    async def send_items(self, items: AsyncIterator[Any]) -> None:
        raise self._is_generator()

    def _is_generator(self) -> CallError:
        name = self.method.name
        return CallError(UsageError(f"{name} is a generator: it needs an upgraded connection"))

    def _finish(self, status: int, body: bytes) -> None:
        self._response = status, body
        self._is_done.set()
