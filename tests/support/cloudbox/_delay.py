"""Delay on a host's cable, by a program between its ends: not every kernel has netem."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from tests.support.cloudbox._network import Unsupported, open_in, run_in

TUNSETIFF = 0x400454CA  # of linux/if_tun.h
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
ETH_P_ALL = 0x0003  # of linux/if_ether.h
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23  # of linux/socket.h and if_packet.h
SIOCETHTOOL = 0x8946  # of linux/sockios.h
ETHTOOL_STXCSUM, ETHTOOL_SGSO = 0x17, 0x24  # of linux/ethtool.h
FRAME_BYTES = 1 << 16
IN_FLIGHT = 10_000  # frames; what is more is lost, as in a switch


class Delay:
    """Holds each frame for some ``seconds``, each way; frames keep their order.

    The bridge's port becomes a tap of the same name, for whom the port is known by that,
    and the host's cable ends in this program.
    """

    def __init__(self, fabric: int, port: str) -> None:
        self.seconds = 0.0
        self._fabric = fabric
        self._port = port

    async def plug_in(self, host: int, nursery: trio.Nursery) -> None:
        """Put it between the port and the host with the process ``host``, for good."""
        # What the card would complete, checksums and segments, is nobody's card's to do.
        open_in(host, partial(complete_in_software, "eth0"))
        cable = f"{self._port}c"
        for command in (
            f"link set {self._port} down nomaster",
            f"link set {self._port} name {cable}",
            f"link set {cable} up promisc on",
        ):
            await run_in(self._fabric, "ip", *command.split())
        tap = open_in(self._fabric, partial(open_tap, self._port))
        wire = trio.socket.from_stdlib_socket(open_in(self._fabric, partial(open_wire, cable)))
        await run_in(self._fabric, "ip", "link", "set", self._port, "master", "bridge", "up")

        async def read_tap() -> bytes:
            await trio.lowlevel.wait_readable(tap)
            return os.read(tap, FRAME_BYTES)

        async def write_tap(frame: bytes) -> None:
            os.write(tap, frame)

        async def serve() -> None:
            with wire:
                try:
                    async with trio.open_nursery() as both:
                        both.start_soon(self._carry, read_tap, wire.send)
                        both.start_soon(self._carry, partial(wire.recv, FRAME_BYTES), write_tap)
                finally:
                    os.close(tap)

        nursery.start_soon(serve)

    async def _carry(
        self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[object]]
    ) -> None:
        held: deque[tuple[float, bytes]] = deque()
        came = trio.Event()

        async def release() -> None:
            nonlocal came
            while True:
                while held:
                    due, frame = held[0]
                    await trio.sleep_until(due)
                    held.popleft()
                    try:
                        await write(frame)
                    except OSError:
                        return  # the host is gone, and its end of the cable
                came = trio.Event()
                await came.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(release)
            while True:
                try:
                    frame = await read()
                except OSError:
                    nursery.cancel_scope.cancel()
                    return
                if len(held) < IN_FLIGHT:
                    held.append((trio.current_time() + self.seconds, frame))
                    came.set()


def open_tap(name: str) -> int:
    """Make a network card of which this process is the cable."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    except OSError as exc:
        raise Unsupported(f"no cards can be made here: {exc}") from exc
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def open_wire(card: str) -> socket.socket:
    """Open a socket for all that a card receives, and for what it is to send."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    wire.bind((card, ETH_P_ALL))
    return wire


def complete_in_software(card: str) -> None:
    """Have the kernel complete what it gives to a card."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (ETHTOOL_SGSO, ETHTOOL_STXCSUM):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", card.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, SIOCETHTOOL, request)
