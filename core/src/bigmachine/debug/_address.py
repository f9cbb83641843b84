"""Where a debug page is served: ``HOST:PORT``."""

from __future__ import annotations

import errno
import ipaddress
import socket

from ..errors import UsageError


def host_and_port(addr: str, *, setting: str = "debug") -> tuple[str, int]:
    """Split an address; raises `UsageError`, which names the ``setting``, if it is none."""
    host, _, port = addr.rpartition(":") if isinstance(addr, str) else ("", "", "")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{setting}: an address is HOST:PORT, like '127.0.0.1:3333', not {addr!r}")
    return host, int(port)


def why_not(addr: str, error: OSError) -> UsageError:
    """Return the error for an address at which nobody can listen."""
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"debug: {addr} is in use, perhaps by another session: name another port, or 0 for "
            f"any free one"
        )
    return UsageError(f"debug: can't listen at {addr}: {error.strerror or error}")


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_in_url(host: str) -> str:
    """Return a host as a browser finds it: this computer's name, if it means all its addresses."""
    try:
        if ipaddress.ip_address(host).is_unspecified:
            return socket.gethostname()
    except ValueError:
        return host
    return f"[{host}]" if ":" in host else host
