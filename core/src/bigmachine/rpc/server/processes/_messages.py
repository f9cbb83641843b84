"""The messages between a machine and its processes, over a socket.

::

    count:u64  size:u64 …   then the head, the pickle and its out-of-band buffers
"""

from __future__ import annotations

import socket
import struct

from ..._frames import INLINE_BYTES, Payload


def send_message(sock: socket.socket, head: bytes, payload: Payload) -> None:
    """Send a message; `OSError` if the other end is gone."""
    sizes = [len(head), payload.pickle_bytes, *(buffer.nbytes for buffer in payload.buffers)]
    parts = [struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes), head, *payload.chunks]
    if payload.pickle_bytes <= INLINE_BYTES:
        parts = [b"".join(parts)]
    for part in (*parts, *payload.buffers):
        sock.sendall(part)


def receive_message(sock: socket.socket) -> list[memoryview]:
    """Wait for a message; return its head, its pickle and its buffers; `EOFError` at the end."""
    (count,) = struct.unpack("<Q", _receive_exactly(sock, 8))
    sizes = struct.unpack(f"<{count}Q", _receive_exactly(sock, 8 * count))
    return [_receive_exactly(sock, size) for size in sizes]


def _receive_exactly(sock: socket.socket, size: int) -> memoryview:
    whole = view = memoryview(bytearray(size))
    while view:
        received = sock.recv_into(view)
        if not received:
            raise EOFError
        view = view[received:]
    return whole
