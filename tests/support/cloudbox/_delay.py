"""Delay on the cable of a host, without netem, which not every kernel has."""

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
IN_FLIGHT = 10_000  # frames; more are lost, as in a switch


class Delay:
    """Delays each frame by ``seconds``, each way; frames keep their order.

    A tap replaces the bridge's port and takes its name, because rules refer to the port by name.
    This program forwards frames between the tap and the cable of the host.
    """

    def __init__(self, fabric: int, port: str) -> None:
        self.seconds = 0.0
        self._fabric = fabric
        self._port = port

    async def plug_in(self, host: int, nursery: trio.Nursery) -> None:
        """Insert the delay between the port and the host with process id ``host``, permanently."""
        # No hardware completes checksums and segments on this path, so the kernel must.
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
                        both.start_soon(self._forward, read_tap, wire.send)
                        both.start_soon(self._forward, partial(wire.recv, FRAME_BYTES), write_tap)
                finally:
                    os.close(tap)

        nursery.start_soon(serve)

    async def _forward(
        self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[object]]
    ) -> None:
        held: deque[tuple[float, bytes]] = deque()
        arrived = trio.Event()

        async def release() -> None:
            nonlocal arrived
            while True:
                while held:
                    due, frame = held[0]
                    await trio.sleep_until(due)
                    held.popleft()
                    try:
                        await write(frame)
                    except OSError:
                        return  # the host has ended
                arrived = trio.Event()
                await arrived.wait()

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
                    arrived.set()


def open_tap(name: str) -> int:
    """Create a tap: a network card whose frames this process reads and writes."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    except OSError as exc:
        raise Unsupported(f"cannot create network cards here: {exc}") from exc
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def open_wire(card: str) -> socket.socket:
    """Open a socket that receives and sends all frames of a card."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    wire.bind((card, ETH_P_ALL))
    return wire


def complete_in_software(card: str) -> None:
    """Turn off checksum and segmentation offload of a card."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (ETHTOOL_SGSO, ETHTOOL_STXCSUM):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", card.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, SIOCETHTOOL, request)
