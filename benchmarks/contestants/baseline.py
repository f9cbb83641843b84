"""The baseline: blocking `ssl` sockets, one connection, no framework at either end."""

from __future__ import annotations

import ssl
import struct
import time
from typing import Any

from benchmarks.contestants._servers import (
    ServerContestant,
    accept_tls,
    connect_tls,
    end_with_stdin,
)

HEADER = struct.Struct("<cQ")  # operation, and a number: size of the array, or seconds
NULL, RECEIVE, SEND, SLEEP = b"n", b"r", b"s", b"z"


class Baseline(ServerContestant):
    """A python process per machine, exec'ed; the same TLS as bigmachine, and nothing else."""

    name = "baseline"
    title = "baseline"
    module = "ssl"
    wire = "blocking `ssl` sockets, mutual TLS 1.3"
    is_sequential = True

    def __init__(self) -> None:
        super().__init__()
        self._buffer = memoryview(b"")

    def connect(self, port: int) -> ssl.SSLSocket:
        connection = connect_tls(port)
        exchange(connection, NULL)
        return connection

    async def null(self) -> None:
        exchange(self.machines[0], NULL)

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        connection = self.machines[0]
        requests, answers = HEADER.pack(NULL, 0) * in_flight, bytearray(HEADER.size * in_flight)
        calls, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.sendall(requests)
            receive_into(connection, memoryview(answers))
            calls += in_flight
        return calls

    async def upload(self, array: Any) -> None:
        connection = self.machines[0]
        connection.sendall(HEADER.pack(RECEIVE, array.nbytes))
        connection.sendall(memoryview(array))
        receive_into(connection, memoryview(bytearray(HEADER.size)))

    async def download(self, size_bytes: int) -> int:
        connection = self.machines[0]
        if len(self._buffer) != size_bytes:
            self._buffer = memoryview(bytearray(size_bytes))
        connection.sendall(HEADER.pack(SEND, size_bytes))
        receive_into(connection, self._buffer)
        return len(self._buffer)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        exchange(self.machines[machine], SLEEP, int(seconds))


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


def serve() -> None:
    """Be a machine: serve one connection until it ends."""
    end_with_stdin()
    connection = accept_tls()
    buffer = memoryview(b"")
    while header := connection.recv(HEADER.size):
        operation, number = HEADER.unpack(header)
        if operation in (RECEIVE, SEND) and len(buffer) != number:
            buffer = memoryview(bytearray(number))
        if operation == SEND:
            connection.sendall(buffer)
            continue
        if operation == RECEIVE:
            receive_into(connection, buffer)
        elif operation == SLEEP:
            time.sleep(number)
        connection.sendall(header)


if __name__ == "__main__":
    serve()
