"""Calls as plain POST requests, for an HTTP client that can't upgrade a connection.

One request a call: it costs ten times what a frame does, and what takes frames,
streams in either direction, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from ...errors import ProtocolError, UsageError
from .._exceptions import load_exception
from .._frames import DEFAULT_LIMIT_BYTES, Frame, Kind
from .._payload import dumps_arguments, dumps_whole, loads_result
from .._protocol import STATUS_RAISED
from ._connection import Connection, ConnectionLost
from ._uploads import is_stream

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

    async def run(self) -> None:
        """Wait until cancelled: there is no connection that could end."""
        await trio.sleep_forever()

    async def call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        import httpx

        if any(map(is_stream, [*args, *kwargs.values()])):
            self._refuse(method)
        dumps_arguments(method, args, dict(kwargs), limit_bytes=DEFAULT_LIMIT_BYTES)
        try:
            response = await self._http.post(
                f"{self._base}/rpc/{method}",
                content=dumps_whole((tuple(args), dict(kwargs))),
                headers={"content-type": "application/x-pickle"},
                extensions={"sni_hostname": self.machine, "timeout": {}},
            )
        except httpx.TransportError as exc:
            raise ConnectionLost(
                f"{method}: {exc}; the call may or may not have run", addr=self.addr, method=method
            ) from exc
        frame = Frame(Kind.REPLY, 0, 0, "", response.content, (), len(response.content))
        if response.status_code == 200:
            return loads_result(method, frame)
        if response.status_code in (400, STATUS_RAISED):
            raise load_exception(frame, addr=self.addr, method=method, machine=self.machine)
        raise ProtocolError(
            f"{method}: HTTP status {response.status_code}", addr=self.addr, method=method
        )

    async def stream(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> NoReturn:
        """Refuse: a stream takes frames."""
        self._refuse(method)

    def _refuse(self, method: str) -> NoReturn:
        raise UsageError(
            f"{method}: streams take a connection that upgrades, and this system's HTTP client "
            "or a proxy on the way can't"
        )
