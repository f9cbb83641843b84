"""A client of Google's metadata server, on an instance.

By "About VM metadata" and "Query metadata server" of the Compute Engine documentation.
"""

from __future__ import annotations

import trio

from bigmachine.cloud import MetadataClient, MetadataError

from ._delete_instance import METADATA_URL

_TIMEOUT = 5.0
# While an instance is moved to another host, the answer can be 503 (python-docs-samples,
# compute/metadata).
_UNAVAILABLE = 503
_ATTEMPTS, _PAUSE_SECONDS = 10, 1.0


class Metadata:
    """Reads values below ``/computeMetadata/v1``. The methods raise `MetadataError`."""

    def __init__(self, url: str) -> None:
        self._client = MetadataClient(url or METADATA_URL, headers={"Metadata-Flavor": "Google"})

    async def read(self, path: str, *, wait_seconds: int = 0) -> str | None:
        """Return the value at a path; None if there is none.

        With ``wait_seconds``, wait as long for the value to change.
        """
        target = path
        if wait_seconds:
            target = f"{path}?wait_for_change=true&timeout_sec={wait_seconds}"
        for _ in range(_ATTEMPTS):
            status, value = await self.request(target, timeout=_TIMEOUT + wait_seconds)
            if status != _UNAVAILABLE:
                break
            await trio.sleep(_PAUSE_SECONDS)
        if status == 404:
            return None
        if status != 200:
            raise MetadataError(f"{self._client.url}: {path}: status {status}")
        return value

    async def request(self, target: str, *, timeout: float = _TIMEOUT) -> tuple[int, str]:
        """Return the status and the text of the answer; ``target`` is a path with its query."""
        target = f"/computeMetadata/v1/{target}"
        status, body = await self._client.request("GET", target, timeout=timeout)
        return status, body.decode("utf-8", "replace").strip()
