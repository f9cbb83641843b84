"""Profiles of the processes of parallel methods: the machine asks, a thread of each answers.

Each process has a socket for that. For each profile, the machine sends one end of a new pair of
sockets over it. On that pair, the request and the profile are pickles, each after its size; if the
machine closes it, the profile is not wanted any longer.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
import threading
from typing import TYPE_CHECKING, cast

import trio

if TYPE_CHECKING:  # most machines are never profiled
    from ....profiling import Profile
    from ....profiling._request import Profiler, ProfileRequest

_SIZE = struct.Struct("<Q")
_LATE_SECONDS = 5.0  # for a process whose native code holds the interpreter


async def ask_process(process: socket.socket, request: ProfileRequest) -> Profile | None:
    """Have a process do what is requested; return None if it ends, or does not answer in time."""
    ours, theirs = socket.socketpair()
    with contextlib.suppress(OSError, trio.BrokenResourceError, EOFError):
        with theirs:
            socket.send_fds(process, [b"."], [theirs.fileno()])
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            data = pickle.dumps(request)
            await stream.send_all(_SIZE.pack(len(data)) + data)
            with trio.move_on_after(request.seconds + _LATE_SECONDS):
                (size,) = _SIZE.unpack(await _receive(stream, _SIZE.size))
                return cast("Profile", pickle.loads(await _receive(stream, size)))
    ours.close()
    return None


async def _receive(stream: trio.SocketStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (part := await stream.receive_some(size - len(data))):
            raise EOFError
        data += part
    return bytes(data)


def answer_machine(machine: socket.socket) -> None:
    """Answer requests, in the process; end it the moment the machine is gone, even in a call."""
    try:
        while True:
            _, (descriptor,), _, _ = socket.recv_fds(machine, 1, 1)  # none at the end
            connection = socket.socket(fileno=descriptor)
            connection.set_inheritable(False)
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()
    finally:
        os._exit(1)


def _answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError, EOFError), connection.makefile("rb") as file:
        (size,) = _SIZE.unpack(_read(file.read(_SIZE.size)))
        request: ProfileRequest = pickle.loads(file.read(size))
        profiler = request.profiler()
        threading.Thread(target=_stop_at_end, args=(connection, profiler), daemon=True).start()
        data = pickle.dumps(profiler.run(request.seconds), pickle.HIGHEST_PROTOCOL)
        connection.sendall(_SIZE.pack(len(data)) + data)


def _read(data: bytes) -> bytes:
    if not data:
        raise EOFError
    return data


def _stop_at_end(connection: socket.socket, profiler: Profiler) -> None:
    with contextlib.suppress(OSError):
        connection.recv(1)  # the end, since nothing more is sent
    profiler.stop()
