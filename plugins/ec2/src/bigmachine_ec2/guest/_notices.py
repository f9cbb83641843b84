"""EC2's notices to an instance, read from the instance metadata service.

By the user guide's "Spot Instance interruption notices", "EC2 instance rebalance
recommendations" and "Scheduled events for Amazon EC2 instances".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import trio

from bigmachine.cloud import MetadataClient, MetadataError, parse_time
from bigmachine.system import Notice

_POLL_SECONDS = 5.0  # recommended for interruptions, which are announced two minutes ahead
_MAINTENANCE_POLL_SECONDS = 60.0  # announced days ahead
_TOKEN_SECONDS = 21600  # the maximum
_TOKEN_MARGIN = 60.0

_TOKEN = "X-aws-ec2-metadata-token"
_TTL = "X-aws-ec2-metadata-token-ttl-seconds"


async def read_notices(url: str) -> AsyncIterator[Notice]:
    """Yield all notices of the metadata service at ``url``, again on every poll.

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


class Metadata:
    """A client of the instance metadata service, version 2, which requires a token.

    The methods raise `MetadataError`.
    """

    def __init__(self, url: str) -> None:
        self._client = MetadataClient(url)
        self._token = ""
        self._valid_until = 0.0  # by trio's clock

    async def read_json(self, path: str) -> Any:
        """Return the JSON at a path below ``meta-data``; None if there is none."""
        found = await self.read(path)
        try:
            return None if found is None else json.loads(found)
        except ValueError as exc:
            raise MetadataError(f"{self._client.url}: {path} is not JSON: {found!r}") from exc

    async def read(self, path: str) -> bytes | None:
        """Return the bytes at a path below ``meta-data``; None if there are none."""
        target = f"/latest/meta-data/{path}"
        if trio.current_time() >= self._valid_until:
            await self._renew()
        status, body = await self._client.request("GET", target, headers={_TOKEN: self._token})
        if status == 401:  # the token is invalid or expired
            await self._renew()
            status, body = await self._client.request("GET", target, headers={_TOKEN: self._token})
        if status == 404:
            return None
        if status != 200:
            raise MetadataError(f"{self._client.url}: {path}: status {status}")
        return body

    async def _renew(self) -> None:
        requested = trio.current_time()
        status, body = await self._client.request(
            "PUT", "/latest/api/token", headers={_TTL: str(_TOKEN_SECONDS)}
        )
        if status != 200:
            raise MetadataError(f"{self._client.url}: no token: status {status}")
        self._token = body.decode("ascii")
        self._valid_until = requested + _TOKEN_SECONDS - _TOKEN_MARGIN


def _interruption(action: Mapping[str, str]) -> Notice:
    """Parse ``{"action": "terminate", "time": "2017-09-18T08:22:00Z"}``."""
    verb = action.get("action", "interrupt")  # or stop, or hibernate
    return Notice(
        "interruption", f"EC2 will {verb} the spot instance", parse_time(action.get("time"))
    )


def _rebalance(recommendation: Mapping[str, str]) -> Notice:
    """Parse ``{"noticeTime": "2020-10-27T08:22:00Z"}``, the time of the notice."""
    since = recommendation.get("noticeTime", "now")
    return Notice(
        "rebalance", f"the spot instance is at elevated risk of interruption since {since}"
    )


def _maintenance(event: Mapping[str, str]) -> Notice:
    """Parse one of the list, whose times have the form ``21 Jan 2019 09:00:43 GMT``."""
    description = ": ".join(filter(None, (event.get("Code", ""), event.get("Description", ""))))
    return Notice(
        "maintenance", f"EC2 has scheduled {description}", parse_time(event.get("NotBefore"))
    )
