"""The caller's end of the way past the wire: it connects where a machine offers memory."""

from __future__ import annotations

import re
import socket

from ...process import close_in_children
from ..memory._peer import may_share_memory
from ..memory._socket import MemorySocket, keeps_descriptors
from ..memory._switch import is_on

_OFFER = re.compile(r"(bigmachine-[0-9a-f]{32}) ([0-9a-f]{32})")


def connect_memory(offer: str | None) -> MemorySocket | None:
    """Connect as the machine's ``offer`` says; None if there is none, or it can't be taken.

    Its socket is found only from the same host, more exactly: from the same network namespace.
    """
    if offer is None or (found := _OFFER.fullmatch(offer)) is None or not is_on():
        return None
    if not keeps_descriptors():
        return None
    name, token = found.groups()
    try:
        sock = close_in_children(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    except OSError:  # no descriptor is left
        return None
    try:
        sock.setblocking(False)
        sock.connect("\0" + name)
        if may_share_memory(sock):
            sock.send(token.encode())
            return MemorySocket(lambda: sock, closed=sock.close)
    except OSError:
        pass
    sock.close()
    return None
