"""TLS 1.3 between machines, and a P-256 key made without a cryptography library."""

from __future__ import annotations

import base64
import os
import ssl
from typing import Any

FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1  # P-256: SEC 2, section 2.4.2
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GENERATOR = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = Any  # a pair of int; None is the point at infinity


def tls_context(
    certificate: str, key: int, authority: str, *, server_side: bool = True
) -> ssl.SSLContext:
    """Return a context with this certificate; the peer must show one of the session."""
    purpose = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority)
    fd = os.memfd_create("bigmachine")  # a key must not be on a disk that outlives the VM
    try:
        os.write(fd, (certificate + private_key_pem(key)).encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


def public_point(key: int) -> bytes:
    """Return the key's public point, uncompressed."""
    total: Point = None
    power: Point = GENERATOR
    while key:
        if key & 1:
            total = add_points(total, power)
        power = add_points(power, power)
        key >>= 1
    x, y = total
    return b"\4" + int(x).to_bytes(32, "big") + int(y).to_bytes(32, "big")


def add_points(p: Point, q: Point) -> Point:
    """Add two points of the curve."""
    if p is None or q is None:
        return q or p
    (x1, y1), (x2, y2) = p, q
    if x1 == x2:
        if (y1 + y2) % FIELD == 0:
            return None
        slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, FIELD)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, FIELD)
    x3 = (slope * slope - x1 - x2) % FIELD
    return x3, (slope * (x1 - x3) - y1) % FIELD


def private_key_pem(key: int) -> str:
    """Return the key as RFC 5915 defines it, which OpenSSL reads."""
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    point = public_point(key)
    body = b"\2\1\1\4\x20" + key.to_bytes(32, "big") + curve
    body += b"\xa1\x44\3\x42\0" + point
    text = base64.encodebytes(b"\x30" + bytes([len(body)]) + body).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n"
