"""Reads the body of a response, as it is and up to a limit: its sender may mean harm."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ...errors import ProtocolError

if TYPE_CHECKING:
    import httpx

AS_IT_IS = {"accept-encoding": "identity"}
"""The header that asks for a body without compression: a few bytes can become gigabytes."""


async def read_body(response: httpx.Response, *, limit_bytes: int, addr: str) -> bytearray:
    """Read the body of a streamed response; `ProtocolError` if it is compressed or too large."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ProtocolError(f"{addr} sent a response that is {encoding[:40]!r}", addr=addr)
    body = bytearray()
    async with contextlib.aclosing(response.aiter_raw()) as parts:  # type: ignore[type-var]
        async for part in parts:
            body += part
            if len(body) > limit_bytes:
                message = f"{addr} sent a response of over {limit_bytes} bytes"
                raise ProtocolError(message, addr=addr)
    return body
