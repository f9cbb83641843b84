"""The DHCP server of a box. Only hosts on Azure need it, to find their wireserver."""

import socket
import struct

import trio

SERVER, CLIENT = 67, 68  # ports
MAGIC = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
MASK, ROUTER, LEASE, KIND, ME, WIRESERVER, END = 1, 3, 51, 53, 54, 245, 255  # options, RFC 2132


def open_socket() -> socket.socket:
    """Open the server's socket in the current network namespace."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"bridge")
    sock.bind(("", SERVER))
    return sock


async def serve(sock: socket.socket, *, gateway: str, wireserver: str) -> None:
    """Send each host its address, until cancelled."""
    with trio.socket.from_stdlib_socket(sock) as port:
        while True:
            packet = await port.recv(1500)
            if reply := answer(packet, gateway=gateway, wireserver=wireserver):
                await port.sendto(reply, ("255.255.255.255", CLIENT))


def answer(packet: bytes, *, gateway: str, wireserver: str) -> bytes | None:
    """Return the reply to a packet of a host, or None.

    No table is needed: the last four bytes of a host's MAC address are its IP address.
    """
    kind = packet.partition(MAGIC + bytes([KIND, 1]))[2][:1]  # clients put it first
    if kind not in (bytes([DISCOVER]), bytes([REQUEST])):
        return None
    transaction, card = packet[4:8], packet[28:34]
    header = b"\x02\x01\x06\x00" + transaction + bytes(8) + card[2:] + bytes(8)
    options = {
        KIND: bytes([OFFER if kind == bytes([DISCOVER]) else ACK]),
        ME: socket.inet_aton(gateway),
        LEASE: struct.pack("!I", 86400),
        MASK: socket.inet_aton("255.255.255.0"),
        ROUTER: socket.inet_aton(gateway),
        WIRESERVER: socket.inet_aton(wireserver),
    }
    tail = b"".join(bytes([option, len(value)]) + value for option, value in options.items())
    return header + card.ljust(16, b"\0") + bytes(64 + 128) + MAGIC + tail + bytes([END])
