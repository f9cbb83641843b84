"""Dialling a machine: from an address, through the system's HTTP client, to a `Connection`."""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from ...errors import ProtocolError, TransportError, UsageError
from .._frames import DEFAULT_LIMIT_BYTES
from .._protocol import (
    CONNECTION_HEADER,
    LANE_HEADER,
    LIMIT_HEADER,
    LOOP_LANE,
    MEMORY_HEADER,
    PROTOCOL,
)
from ..transport._channel import Channel, StreamChannel
from ..transport._tls import TlsChannel
from ._connection import Connection
from ._frame_connection import FrameConnection
from ._post import PostConnection

if TYPE_CHECKING:
    import httpx

_LANE_TIMEOUT = 10.0


def split_addr(addr: str) -> tuple[str, str]:
    """Split ``https://HOST:PORT#NAME`` into ``HOST:PORT`` and the machine's name."""
    if isinstance(addr, str):
        with contextlib.suppress(ValueError):  # no host or port, or no valid ones
            parts = urlsplit(addr)
            if parts.scheme == "https" and parts.hostname and parts.port and parts.fragment:
                return parts.netloc, parts.fragment
    raise UsageError(f"{addr!r} is not a machine's address; it looks like https://HOST:PORT#NAME")


@contextlib.asynccontextmanager
async def dial(http: httpx.AsyncClient, addr: str) -> AsyncIterator[Connection]:
    """Connect to the machine at ``addr``; the caller runs the connection inside the block.

    Raises `ConnectionRefusedError` if nothing listens there (for a machine that ran
    before, its process has ended), `ForeignPeer` if another machine or program answers,
    `ProtocolError` if the machine does not speak our protocol, and `TransportError` for other
    failures on the way.
    """
    address, name = split_addr(addr)
    base = f"https://{address}"
    async with _upgrade(http, addr) as response:
        upgrade, stream = response.headers.get("upgrade"), _network_stream(response)
        if response.status_code == 101 and upgrade == PROTOCOL and stream is not None:
            limit = _limit_bytes(response, addr)
            channel, leading = _channel(stream, response)
            token = response.headers.get(CONNECTION_HEADER)
            has_lanes = token is not None and isinstance(channel, TlsChannel)
            yield FrameConnection(
                channel,
                addr=addr,
                machine=name,
                limit_bytes=limit,
                leading=leading,
                dial_lane=functools.partial(_dial_lane, http, addr, token) if has_lanes else None,
            )
        elif response.status_code in (101, 426) and upgrade == PROTOCOL:
            # A machine of our version, but this client or a proxy on the way can't upgrade.
            await response.aclose()
            yield PostConnection(http, base=base, addr=addr, machine=name)
        else:
            raise _not_ours(response, addr)


async def _dial_lane(
    http: httpx.AsyncClient, addr: str, token: str, number: int, is_to_loop: bool
) -> TlsChannel:
    """Connect to a machine once more, for a lane of the connection that it calls ``token``."""
    wanted = f"{token} {number}{LOOP_LANE if is_to_loop else ''}"
    lane: TlsChannel | None = None
    try:
        with trio.fail_after(_LANE_TIMEOUT):
            async with _upgrade(http, addr, {LANE_HEADER: wanted}) as response:
                if response.status_code == 101 and (stream := _network_stream(response)):
                    channel, _ = _channel(stream, response)
                    lane = channel.taken_over() if isinstance(channel, TlsChannel) else None
    except BaseException:
        if lane is not None:  # cancelled as the block ended
            lane.discard()
        raise
    if lane is None:
        raise ProtocolError(f"{addr} has no lane for us", addr=addr)
    return lane


@contextlib.asynccontextmanager
async def _upgrade(
    http: httpx.AsyncClient, addr: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx.Response]:
    """Request an upgrade; the connection ends with the block, unless it was taken over."""
    import httpx

    address, name = split_addr(addr)
    request = http.build_request(
        "GET",
        f"https://{address}/rpc",
        headers={"connection": "upgrade", "upgrade": PROTOCOL, **(headers or {})},
        extensions={"sni_hostname": name, "timeout": {}},
    )
    try:
        response = await http.send(request, stream=True)
    except httpx.TransportError as exc:
        raise transport_error(exc, addr=addr) from exc
    try:
        yield response
    finally:
        await response.aclose()


class ForeignPeer(ProtocolError):
    """Somebody answers, and does not prove to be the machine: perhaps only for now."""


def _limit_bytes(response: httpx.Response, addr: str) -> int:
    text = response.headers.get(LIMIT_HEADER, str(DEFAULT_LIMIT_BYTES))
    if re.fullmatch("[0-9]{1,18}", text) is None:
        raise ProtocolError(f"{addr} says that its limit is {text[:40]!r} bytes", addr=addr)
    return int(text)


def _network_stream(response: httpx.Response) -> Any:
    # Whatever the HTTP client has there; it need not be httpcore's.
    return response.extensions.get("network_stream")


def _channel(stream: Any, response: httpx.Response) -> tuple[Channel, bytes]:
    """Return the channel of an upgraded connection, and what was read past the response."""
    from ._exchange import Exchange

    if not isinstance(stream, Exchange):
        # httpcore keeps bytes that came right after the 101 in a wrapper of its stream.
        return StreamChannel(stream), b""
    channel = stream.channel
    if isinstance(channel, TlsChannel) and (offer := response.headers.get(MEMORY_HEADER)):
        from ._memory import connect_memory

        channel.memory = connect_memory(offer)
    return channel, stream.leading


def _not_ours(response: httpx.Response, addr: str) -> ProtocolError:
    theirs = response.headers.get("upgrade", "")[:40]
    if theirs:
        return ProtocolError(f"{addr} speaks {theirs}, we speak {PROTOCOL}", addr=addr)
    return ProtocolError(
        f"what answers at {addr} is not a bigmachine (HTTP status {response.status_code})",
        addr=addr,
    )


def transport_error(exc: httpx.TransportError, *, addr: str) -> Exception:
    """Return what to raise for a request to ``addr`` that got no response; see `dial`."""
    _, name = split_addr(addr)
    causes = list(_causes(exc))
    for cause in causes:
        # These are no TLS faults: the peer went away while we waited. OpenSSL 3.0 has the last one.
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, ssl.SSLWantReadError | ssl.SSLEOFError | ssl.SSLZeroReturnError
        ):
            return ForeignPeer(
                f"{addr} is not {name}, or rejects our certificate: {cause}", addr=addr
            )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return ConnectionRefusedError(f"nothing listens at {addr}")
    return TransportError(f"can't reach {addr}: {exc or type(exc).__name__}", addr=addr)


def _causes(exc: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    queue: list[BaseException | None] = [exc]
    while queue:
        current = queue.pop()
        if current is None or current in found:
            continue
        found.append(current)
        # The context too: httpcore raises "from None" what has a cause.
        queue += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            queue += current.exceptions
    return found
