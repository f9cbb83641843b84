"""In-process machines that are reached over real sockets, on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import trio

import bigmachine as bm
from bigmachine.rpc import http_client
from bigmachine.testing import InProcessSystem
from tests.support.waiting import until

_ports: dict[str, int] = {}  # by the address of the machine
LANE = "bigmachine-lane"


class SocketSystem(InProcessSystem):
    """Its machines listen at free ports; of their network, only `break_lanes` is simulated."""

    def _begin(self) -> None:
        super()._begin()
        self._made: list[socket.socket] = []

    def break_lanes(self) -> None:
        """Break all connections but the first one that the driver has made."""
        for made in self._made[1:]:
            with contextlib.suppress(OSError):  # it has ended
                made.shutdown(socket.SHUT_RDWR)

    async def shutdown(self) -> None:
        for made in self._made:
            made.close()
        await super().shutdown()

    async def listen(self, address: str) -> Sequence[trio.abc.Listener[Any]]:
        await super().listen(address)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        _ports[address] = listeners[0].socket.getsockname()[1]
        return listeners

    def http_client(self, identity: Any) -> httpx.AsyncClient:
        async def connect(host: str, port: int) -> trio.SocketStream:
            if (real := _ports.get(f"{host}:{port}")) is None:
                raise ConnectionRefusedError("it does not listen yet")
            stream = await trio.open_tcp_stream("127.0.0.1", real)
            if self._here is None:  # on a machine, it is a copy that nobody shuts down
                self._made.append(socket.socket(fileno=os.dup(stream.socket.fileno())))
            return stream

        return http_client(identity, connect=connect)


class Where:
    """Says which thread of the machine runs it."""

    def where(self) -> str:
        return threading.current_thread().name


def has_lane(machine: bm.Machine) -> bool:
    """Whether a call takes a lane, of a machine that has the service `Where`."""
    return bool(machine.call("Where.where") == LANE)


def await_lane(machine: bm.Machine) -> None:
    """Call a machine until its calls take a lane."""
    until(lambda: has_lane(machine))
