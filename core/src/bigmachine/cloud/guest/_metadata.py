"""A client of the metadata service that a cloud's instances have, and its errors."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from ...errors import BigmachineError

if TYPE_CHECKING:
    import h11

_TIMEOUT = 5.0


class MetadataError(BigmachineError):
    """The metadata service does not respond, or not as its provider documents."""


class MetadataClient:
    """Sends requests to the metadata service at ``url``, like ``http://169.254.169.254``.

    ``headers`` are sent with each request: ``{"Metadata-Flavor": "Google"}``. Each request has its
    own connection, so that none is open for hours, and never goes through a proxy.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._headers = {**(headers or {})}

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
    ) -> tuple[int, bytes]:
        """Send a request without a body; return the response's status and body.

        ``target`` is a path with its query. A request that the service answers when something
        changes needs a longer ``timeout``, in seconds. Raises `MetadataError`.
        """
        import h11  # late: only machines need it

        parts = urlsplit(self.url)
        own = [*self._headers.items(), *(headers or {}).items()]
        request = h11.Request(
            method=method,
            target=target,
            headers=[("Host", parts.netloc), ("Connection", "close"), *own],
        )
        try:
            with trio.fail_after(timeout):
                stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
                async with stream:
                    return await _exchange(stream, request)
        except trio.TooSlowError as exc:
            raise MetadataError(f"{self.url} did not respond within {timeout:g} s") from exc
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as exc:
            raise MetadataError(f"{self.url} can't be read: {exc}") from exc


async def _exchange(stream: trio.SocketStream, request: h11.Request) -> tuple[int, bytes]:
    import h11

    connection = h11.Connection(h11.CLIENT)
    head = connection.send(request) or b""
    await stream.send_all(head + (connection.send(h11.EndOfMessage()) or b""))
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body


def parse_time(text: str | None) -> datetime.datetime | None:
    """Parse a time of a notice, in ISO 8601 or as in e-mail; None if there is none, or no such.

    Both ``2017-09-18T08:22:00Z`` and ``Mon, 19 Sep 2016 18:29:47 GMT`` are in use, the latter
    also without the day of the week. A time without a zone is in UTC.
    """
    if not text:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        from email.utils import parsedate_to_datetime  # late: few machines get such a notice

        try:
            found = parsedate_to_datetime(text)
        except ValueError:
            return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
