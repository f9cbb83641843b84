"""What is sent along with a call besides its arguments: a trace context, as HTTP's headers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from ._frames import MAX_HEADERS_BYTES

logger = logging.getLogger("bigmachine.rpc")


def dump_headers(headers: Mapping[str, str]) -> bytes:
    """Encode headers; nothing of them is sent if they are too large."""
    if not headers:
        return b""
    encoded = json.dumps(headers).encode()
    if len(encoded) <= MAX_HEADERS_BYTES:
        return encoded
    logger.warning(
        "a call is sent without its headers: they have %d bytes, and the limit is %d: %s",
        len(encoded),
        MAX_HEADERS_BYTES,
        ", ".join(headers),
    )
    return b""


def load_headers(encoded: bytes) -> dict[str, str]:
    """Decode headers; those of a peer that sends nonsense are ignored."""
    try:
        headers = json.loads(encoded) if encoded else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(headers, dict):
        return {}
    return {name: value for name, value in headers.items() if isinstance(value, str)}
