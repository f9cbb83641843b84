"""A client of the Azure Instance Metadata Service, on a virtual machine.

By "Azure Instance Metadata Service" of the documentation of virtual machines.
"""

from __future__ import annotations

import json
from typing import Any

import trio

from bigmachine.cloud import MetadataClient, MetadataError

from ._delete_vm import METADATA_URL

_TIMEOUT = 5.0
# Of answers that pass: the service is being updated, for up to 70 seconds; or five requests a
# second, those of all programs of the VM together, are exceeded.
_TEMPORARY = (410, 429, 500, 503, 504)
_PATIENCE_SECONDS, _FIRST_PAUSE, _LONGEST_PAUSE = 80.0, 1.0, 10.0


class Metadata:
    """Reads values below ``/metadata``. The methods raise `MetadataError`."""

    def __init__(self, url: str) -> None:
        self._client = MetadataClient(url or METADATA_URL, headers={"Metadata": "true"})

    async def read(self, path: str) -> str | None:
        """Return the value at a path below ``instance``, like ``compute/name``; None if none."""
        body = await self._request(f"instance/{path}?api-version=2021-02-01&format=text")
        return None if body is None else body.decode("utf-8", "replace").strip()

    async def read_json(self, target: str, *, timeout: float = _TIMEOUT) -> Any:
        """Return what is at a path with its query, which is JSON; None if there is nothing."""
        body = await self._request(target, timeout=timeout)
        try:
            return None if body is None else json.loads(body)
        except ValueError as exc:
            raise MetadataError(f"{self._client.url}: {target} is not JSON: {body!r}") from exc

    async def public_address(self) -> str:
        """Return the machine's public address; "" if it has none.

        That of the Standard SKU, which all are by now, is not among the values of the network, but
        those of a load balancer, even if there is none ("Retrieve load balancer metadata using
        Azure Instance Metadata Service").
        """
        found = await self.read("network/interface/0/ipv4/ipAddress/0/publicIpAddress")
        if found:
            return found
        reply = await self.read_json("loadbalancer?api-version=2020-10-01")
        try:
            addresses = reply["loadbalancer"]["publicIpAddresses"] if reply else ()
            return next((str(address["frontendIpAddress"]) for address in addresses), "")
        except (LookupError, TypeError) as exc:
            raise MetadataError(f"{self._client.url}: no addresses in {reply!r}") from exc

    async def _request(self, target: str, *, timeout: float = _TIMEOUT) -> bytes | None:
        deadline = trio.current_time() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE
        while True:
            status, body = await self._client.request("GET", f"/metadata/{target}", timeout=timeout)
            if status == 200:
                return body
            if status == 404:
                return None
            if status not in _TEMPORARY or trio.current_time() >= deadline:
                raise MetadataError(f"{self._client.url}: {target}: status {status}")
            await trio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
