"""The floor: blocking `ssl` sockets, one connection, no framework at either end."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import _certificates
from benchmarks._contestant import Contestant

HEADER = struct.Struct("<cQ")  # operation, and a number: bytes to follow, bytes wanted, seconds
NULL, TAKE, GIVE, SLEEP = b"n", b"t", b"g", b"s"


class Floor(Contestant):
    """A python process per machine, exec'ed; the same TLS as ours, and nothing else."""

    name = "ssl"
    title = "floor"
    module = "ssl"
    wire = "blocking `ssl` sockets, mutual TLS 1.3"
    is_sequential = True

    def __init__(self) -> None:
        self._machines: list[tuple[subprocess.Popen[bytes], ssl.SSLSocket]] = []
        self._buffer = memoryview(b"")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self.grow(1)
        try:
            yield
        finally:
            for process, connection in self._machines:
                connection.close()
                process.kill()
                process.wait()

    async def grow(self, count: int) -> None:
        context = _certificates.context("client")
        processes = [launch("benchmarks.floor") for _ in range(count)]
        for process, port in [(p, read_port(p)) for p in processes]:
            raw = socket.create_connection(("127.0.0.1", port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = context.wrap_socket(raw, server_hostname="localhost")
            self._machines.append((process, connection))
            exchange(connection, NULL)

    def pids(self) -> list[int]:
        return [process.pid for process, _ in self._machines]

    async def null(self) -> None:
        exchange(self._machines[0][1], NULL)

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        connection = self._machines[0][1]
        requests, answers = HEADER.pack(NULL, 0) * in_flight, bytearray(HEADER.size * in_flight)
        calls, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.sendall(requests)
            receive_into(connection, memoryview(answers))
            calls += in_flight
        return calls

    async def upload(self, array: Any) -> None:
        connection = self._machines[0][1]
        connection.sendall(HEADER.pack(TAKE, array.nbytes))
        connection.sendall(memoryview(array))
        receive_into(connection, memoryview(bytearray(HEADER.size)))

    async def download(self, size_bytes: int) -> int:
        connection = self._machines[0][1]
        if len(self._buffer) != size_bytes:
            self._buffer = memoryview(bytearray(size_bytes))
        connection.sendall(HEADER.pack(GIVE, size_bytes))
        receive_into(connection, self._buffer)
        return len(self._buffer)

    async def hang(self, machine: int, *, seconds: float) -> None:
        exchange(self._machines[machine][1], SLEEP, int(seconds))


def exchange(connection: ssl.SSLSocket, operation: bytes, number: int = 0) -> None:
    """Send a header and wait for its echo."""
    connection.sendall(HEADER.pack(operation, number))
    if len(connection.recv(HEADER.size)) != HEADER.size:
        raise ConnectionResetError("the machine is gone")


def receive_into(connection: ssl.SSLSocket, buffer: memoryview) -> None:
    """Fill `buffer`."""
    filled = 0
    while filled < len(buffer):
        count = connection.recv_into(buffer[filled:])
        if not count:
            raise ConnectionResetError("the other end is gone")
        filled += count


def launch(module: str) -> subprocess.Popen[bytes]:
    """Start `python -m module`, which prints its port and ends when its stdin does."""
    command = [sys.executable, "-m", module]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def read_port(process: subprocess.Popen[bytes]) -> int:
    """Wait for the port that a launched process prints."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def end_with_stdin() -> None:
    """From now on, end this process when its parent does, whatever it is doing."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def serve() -> None:
    """Be a machine: serve one connection until it ends."""
    end_with_stdin()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    raw, _ = listener.accept()
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = _certificates.context("server").wrap_socket(raw, server_side=True)
    buffer = memoryview(b"")
    while header := connection.recv(HEADER.size):
        operation, number = HEADER.unpack(header)
        if operation in (TAKE, GIVE) and len(buffer) != number:
            buffer = memoryview(bytearray(number))
        if operation == GIVE:
            connection.sendall(buffer)
            continue
        if operation == TAKE:
            receive_into(connection, buffer)
        elif operation == SLEEP:
            time.sleep(number)
        connection.sendall(header)


if __name__ == "__main__":
    serve()
