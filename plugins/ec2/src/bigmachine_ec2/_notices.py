"""What EC2 tells an instance about its future, read from its instance metadata service.

By the user guide's "Spot Instance interruption notices", "EC2 instance rebalance
recommendations" and "Scheduled events for Amazon EC2 instances".
"""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import h11
import trio

from bigmachine.errors import BigmachineError
from bigmachine.system import Notice

_POLL_SECONDS = 5.0  # what the guide recommends for interruptions, which come two minutes ahead
_MAINTENANCE_POLL_SECONDS = 60.0  # it comes days ahead
_TIMEOUT = 5.0
_TOKEN_SECONDS = 21600  # the most there is
_TOKEN_MARGIN = 60.0

_TOKEN = "X-aws-ec2-metadata-token"
_TTL = "X-aws-ec2-metadata-token-ttl-seconds"


async def read_notices(url: str) -> AsyncIterator[Notice]:
    """Give all that the metadata service at ``url`` has to say, again each time it is read.

    Raises `MetadataError`.
    """
    metadata = Metadata(url)
    is_spot = await metadata.read("instance-life-cycle") == b"spot"
    maintenance_due = trio.current_time()
    while True:
        if is_spot:
            if action := await metadata.read_json("spot/instance-action"):
                yield _interruption(action)
            if recommendation := await metadata.read_json("events/recommendations/rebalance"):
                yield _rebalance(recommendation)
        if trio.current_time() >= maintenance_due:
            maintenance_due = trio.current_time() + _MAINTENANCE_POLL_SECONDS
            for event in await metadata.read_json("events/maintenance/scheduled") or ():
                if event.get("State", "active") == "active":
                    yield _maintenance(event)
        await trio.sleep(_POLL_SECONDS if is_spot else _MAINTENANCE_POLL_SECONDS)


class MetadataError(BigmachineError):
    """The instance metadata service does not answer, or not as AWS documents it."""


class Metadata:
    """The instance metadata service, version 2: it answers who first asked for a token.

    Each request has a connection of its own, so that none is kept for hours. The methods
    raise `MetadataError`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        self._is_valid_until = 0.0  # by trio's clock

    async def read_json(self, path: str) -> Any:
        """Return what is at a path below ``meta-data``, of JSON; None if there is nothing."""
        found = await self.read(path)
        try:
            return None if found is None else json.loads(found)
        except ValueError as exc:
            raise MetadataError(f"{self._url}: {path} is no JSON: {found!r}") from exc

    async def read(self, path: str) -> bytes | None:
        """Return what is at a path below ``meta-data``, or None if there is nothing."""
        target = f"/latest/meta-data/{path}"
        if trio.current_time() >= self._is_valid_until:
            await self._renew()
        status, body = await self._ask("GET", target, {_TOKEN: self._token})
        if status == 401:  # the token is not valid, or no more
            await self._renew()
            status, body = await self._ask("GET", target, {_TOKEN: self._token})
        if status == 404:
            return None
        if status != 200:
            raise MetadataError(f"{self._url}: {path} is answered with status {status}")
        return body

    async def _renew(self) -> None:
        asked = trio.current_time()
        status, body = await self._ask("PUT", "/latest/api/token", {_TTL: str(_TOKEN_SECONDS)})
        if status != 200:
            raise MetadataError(f"{self._url}: it gives no token, but status {status}")
        self._token = body.decode("ascii")
        self._is_valid_until = asked + _TOKEN_SECONDS - _TOKEN_MARGIN

    async def _ask(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        parts = urlsplit(self._url)
        request = h11.Request(
            method=method,
            target=target,
            headers=[("Host", parts.netloc), ("Connection", "close"), *headers.items()],
        )
        try:
            with trio.fail_after(_TIMEOUT):
                stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
                async with stream:
                    return await _exchange(stream, request)
        except trio.TooSlowError as exc:
            raise MetadataError(f"{self._url} has not answered for {_TIMEOUT:g} s") from exc
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as exc:
            raise MetadataError(f"{self._url} can't be read: {exc}") from exc


async def _exchange(stream: trio.SocketStream, request: h11.Request) -> tuple[int, bytes]:
    """Send a request without a body; return the response's status and body."""
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


def _interruption(action: Mapping[str, str]) -> Notice:
    """Read ``{"action": "terminate", "time": "2017-09-18T08:22:00Z"}``."""
    does = action.get("action", "take back")  # or stop, or hibernate
    return Notice("interruption", f"EC2 will {does} the spot instance", _time(action.get("time")))


def _rebalance(recommendation: Mapping[str, str]) -> Notice:
    """Read ``{"noticeTime": "2020-10-27T08:22:00Z"}``, which is when it was given."""
    since = recommendation.get("noticeTime", "now")
    return Notice("rebalance", f"EC2 sees the spot instance at risk of interruption since {since}")


def _maintenance(event: Mapping[str, str]) -> Notice:
    """Read one of the list, whose times are of the form ``21 Jan 2019 09:00:43 GMT``."""
    what = ": ".join(filter(None, (event.get("Code", ""), event.get("Description", ""))))
    return Notice("maintenance", f"EC2 has scheduled {what}", _time(event.get("NotBefore")))


def _time(text: str | None) -> datetime.datetime | None:
    """Read a time of either form; None for one that can't be read."""
    if not text:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        from email.utils import parsedate_to_datetime  # late: few machines have maintenance

        try:
            found = parsedate_to_datetime(text)
        except ValueError:
            return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
