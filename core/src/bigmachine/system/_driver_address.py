"""Own addresses of this computer, as others see them: what a firewall must let in."""

from __future__ import annotations

import ipaddress
import socket

from ..errors import StartError

_LOOK_UP_TIMEOUT = 15.0
_ANY_PORT = 9  # nothing is sent


async def public_address(url: str) -> str:
    """Return this computer's public IPv4 address, as the web service at ``url`` sees it.

    The service answers with the address alone, like ``https://checkip.amazonaws.com``. It is
    asked directly, not through a proxy, since machines are reached directly, too. Raises
    `StartError` if it can't be reached, or answers something else.
    """
    import httpx

    try:
        # Not through a client, which logs each request in the user's log.
        async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
            timeout = httpx.Timeout(_LOOK_UP_TIMEOUT).as_dict()
            request = httpx.Request("GET", url, extensions={"timeout": timeout})
            reply = await transport.handle_async_request(request)
            reply.request = request
            await reply.aread()
            reply.raise_for_status()
            return str(ipaddress.IPv4Address(reply.text.strip()))
    except (httpx.HTTPError, ValueError) as exc:
        raise StartError(f"{url} did not return this computer's public address ({exc!r})") from exc


def source_address(host: str) -> str | None:
    """Return the source address of this computer's packets to an IPv4 address.

    None without a route to it. A router on the way, as of a container or a VPN, may translate it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, _ANY_PORT))
        except OSError:
            return None
        return str(probe.getsockname()[0])
