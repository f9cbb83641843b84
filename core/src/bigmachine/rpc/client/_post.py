"""Calls as plain POST requests, for an HTTP client that can't upgrade a connection.

One request per call: it costs ten times as much as a frame. Streams, in either direction,
need frames and are a `UsageError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import trio
from outcome import Error, Outcome, Value

from ...errors import BigmachineError, ProtocolError, UsageError
from .._exceptions import load_exception
from .._frames import DEFAULT_LIMIT_BYTES, Frame, Kind
from .._headers import load_headers
from .._payload import joined
from .._protocol import PICKLE_TYPE, STATUS_RAISED
from ._body import AS_IT_IS, read_body
from ._connection import Connection
from ._lost import ConnectionLost
from ._pickled_call import PickledCall
from ._pickled_result import PickledResult

if TYPE_CHECKING:
    import httpx


class PostConnection(Connection):
    """Sends each call as a request of its own through one HTTP client."""

    connects_per_call = True

    def __init__(self, http: httpx.AsyncClient, *, base: str, addr: str, machine: str) -> None:
        self.addr = addr
        self.machine = machine
        self.is_open = True
        self._http = http
        self._base = base
        self._in_flight = 0
        self._own_calls = 0  # by `call_supervisor`; these are in flight, too

    @property
    def is_in_use(self) -> bool:
        return self._in_flight > self._own_calls

    async def run(self) -> None:
        """Wait until cancelled: there is no connection that could end."""
        await trio.sleep_forever()

    async def outcome(self, call: PickledCall) -> Outcome[Any]:
        self._in_flight += 1
        try:
            return await self._post(call)
        except BigmachineError as exc:
            return Error(exc.with_traceback(None))  # its cause has the frames that matter
        finally:
            self._in_flight -= 1

    async def call_supervisor(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        self._own_calls += 1
        try:
            return await super().call_supervisor(method, args, kwargs)
        finally:
            self._own_calls -= 1

    async def _post(self, call: PickledCall) -> Outcome[Any]:
        import httpx

        method = call.method
        if call.uploads is not None:
            self._raise_no_streams(method)
        try:
            async with self._http.stream(
                "POST",
                f"{self._base}/rpc/{quote(method)}",
                content=joined(call.payload),
                headers=load_headers(call.headers) | {"content-type": PICKLE_TYPE, **AS_IT_IS},
                extensions={"sni_hostname": self.machine, "timeout": {}},
            ) as response:
                body = await read_body(response, limit_bytes=DEFAULT_LIMIT_BYTES, addr=self.addr)
        except httpx.TransportError as exc:
            raise ConnectionLost(
                f"{method}: {exc}; the call may or may not have run", addr=self.addr, method=method
            ) from exc
        frame = Frame(Kind.REPLY, 0, 0, "", body, (), len(body))
        if response.status_code == 200:
            return Value(PickledResult(method, frame))
        if response.status_code in (400, STATUS_RAISED):
            return Error(load_exception(frame, addr=self.addr, method=method, machine=self.machine))
        raise ProtocolError(
            f"{method}: HTTP status {response.status_code}", addr=self.addr, method=method
        )

    async def open_stream(self, call: PickledCall) -> NoReturn:
        """Raise `UsageError`: a stream needs frames."""
        self._raise_no_streams(call.method)

    def _raise_no_streams(self, method: str) -> NoReturn:
        raise UsageError(
            f"{method}: streams need an upgraded connection, which this system's HTTP client "
            "or a proxy on the way does not support"
        )
