"""Machines that are server processes: each listens on loopback, and the driver connects to it."""

from __future__ import annotations

import abc
import collections
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import _certificates
from benchmarks._contestant import Contestant


class ServerContestant(Contestant):
    """Its module, run as a program, is a machine; `machines` are the driver's clients."""

    def __init__(self) -> None:
        super().__init__()
        self._processes: list[subprocess.Popen[bytes]] = []  # a lost one would end: see `launch`

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            async with super().open():
                yield
        finally:
            for process in self._processes:
                with process:  # closes its pipes, and waits
                    process.kill()

    @abc.abstractmethod
    def connect(self, port: int) -> Any:
        """Return a client of the machine at ``port``, which has answered a null call."""

    async def start_more(self, count: int) -> None:
        processes = [launch(type(self).__module__) for _ in range(count)]
        self._processes += processes
        ports = [read_port(process) for process in processes]
        self.machines += [self.connect(port) for port in ports]
        self.pids += [process.pid for process in processes]


def launch(module: str) -> subprocess.Popen[bytes]:
    """Start `python -m module`, which prints its port, and ends when its standard input does."""
    command = [sys.executable, "-m", module]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def read_port(process: subprocess.Popen[bytes]) -> int:
    """Wait for the port that a launched process prints."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def connect_tls(port: int) -> ssl.SSLSocket:
    """Connect to `accept_tls` of a machine."""
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _certificates.tls_context("client").wrap_socket(raw, server_hostname="localhost")


def accept_tls() -> ssl.SSLSocket:
    """On a machine: listen, print the port, and accept the driver's one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    raw, _ = listener.accept()
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _certificates.tls_context("server").wrap_socket(raw, server_side=True)


def end_with_stdin() -> None:
    """On a machine: end this process as soon as its driver ends, whatever it is doing."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def count_calls(
    send: Callable[[], Any], wait: Callable[[Any], object], *, seconds: float, in_flight: int
) -> int:
    """Keep ``in_flight`` calls under way for ``seconds``; return how many were answered.

    ``send`` begins a call and returns what ``wait`` takes to wait for its answer.
    """
    pending = collections.deque(send() for _ in range(in_flight))
    calls, end = 0, time.perf_counter() + seconds
    while pending:
        wait(pending.popleft())
        calls += 1
        if time.perf_counter() < end:
            pending.append(send())
    return calls
