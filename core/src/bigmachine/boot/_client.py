"""The driver's end of the boot program's wire: its methods, and blobs, as HTTP requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BigmachineError, ProtocolError, TransportError
from ..rpc import AS_IT_IS, read_body, transport_error

if TYPE_CHECKING:
    import httpx


MAX_REPLY_BYTES = 64 << 20
"""The largest reply of a boot program that is read."""


class BootClient:
    """Sends requests to the boot program at ``address``, which has ``name`` at present.

    Any request raises `ConnectionRefusedError` when nothing listens there, `TransportError`
    for other failures on the way, `ProtocolError` when another program answers, and
    `BootStatusError`.
    """

    def __init__(self, http: httpx.AsyncClient, *, address: str, name: str) -> None:
        self._http = http
        self._base = f"https://{address}"
        self.name = name

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call ``Boot.method``; arguments and result are JSON values."""
        # In ASCII: the names of files may have bytes that are not UTF-8, which httpx refuses.
        content = json.dumps({"kwargs": arguments}).encode("ascii")
        headers = {"content-type": "application/json"}
        return await self._request("POST", f"/rpc/Boot.{method}", content=content, headers=headers)

    async def put(
        self, sha256: str, *, offset: int, size_bytes: int, content: AsyncIterator[bytes]
    ) -> None:
        """Upload a blob from ``offset`` on."""
        await self._request(
            "PUT",
            f"/blobs/{sha256}?{offset}",
            content=content,
            headers={"content-length": str(size_bytes - offset)},
        )

    async def _request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> dict[str, Any]:
        import httpx

        addr = f"{self._base}#{self.name}"
        try:
            async with self._http.stream(
                method,
                self._base + path,
                headers={**(headers or {}), **AS_IT_IS},
                extensions={"sni_hostname": self.name, "timeout": {}},
                **options,
            ) as response:
                body = await read_body(response, limit_bytes=MAX_REPLY_BYTES, addr=addr)
        except httpx.TransportError as exc:
            raise transport_error(exc, addr=addr) from exc
        try:
            reply = json.loads(body)
            if not isinstance(reply, dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise ProtocolError(
                f"what answers at {addr} is no boot program (HTTP status {response.status_code})",
                addr=addr,
            ) from None
        if response.status_code == _MISDIRECTED:
            raise TransportError(str(reply.get("message")), addr=addr)
        if response.status_code != 200:
            raise BootStatusError(str(reply.get("message")), status=response.status_code)
        return reply


class BootStatusError(BigmachineError):
    """The boot program answered with an HTTP error ``status``; the message is its own."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


_MISDIRECTED = 421  # the connection is older than the machine's present certificate
