"""Sections WIRE and IDENTITY broken, on the driver's side."""

from __future__ import annotations

import errno
import functools
import ssl

import trio

from tests.conformance.broken import breaks
from tests.conformance.cloud import CloudSystem

_LIMIT_BYTES = 5 << 20


@breaks(
    {
        "WIRE-2": "streams need an upgraded connection",
        "WIRE-5": "the method is cancelled",
        "WIRE-7": "the client cannot upgrade connections: it sends calls as",
        "KEEPALIVE-2": "the machine is STOPPED",
    }
)
class NoUpgrade(CloudSystem):
    """The HTTP client cannot upgrade a connection."""

    def http_client(self, identity):
        client = super().http_client(identity)
        client.send = functools.partial(_send_without_stream, client.send)
        return client


async def _send_without_stream(send, request, **options):
    response = await send(request, **options)
    response.extensions.pop("network_stream", None)
    return response


@breaks({"WIRE-3": "ended; the call may or may not have run"})
class PayloadLimit(CloudSystem):
    """A gateway cuts connections that carry more than its limit."""

    def http_client(self, identity):
        return _behind(super().http_client(identity), _Limited)


@breaks({"WIRE-6": "no tunnel is open"})
class NoPeers(CloudSystem):
    """The HTTP client works on the driver, but not on machines."""

    def http_client(self, identity):
        client = super().http_client(identity)
        if self._here is not None:
            client.connect = _unreachable
        return client


async def _unreachable(host, port):
    await trio.lowlevel.checkpoint()
    raise OSError(errno.ENETUNREACH, "no tunnel is open")


@breaks({"KEEPALIVE-2": "the machine is STOPPED"}, options={"rpc_timeout": 0.5})
class HidesDisconnect(CloudSystem):
    """A gateway keeps the driver's connection open after the machine has ended."""

    def http_client(self, identity):
        return _behind(super().http_client(identity), _Endless)


@breaks(
    dict.fromkeys(
        ("IDENTITY-1", "IDENTITY-2", "IDENTITY-3", "IDENTITY-4", "IDENTITY-6"),
        "the client refuses the right machine",
    )
)
class OneClientOnly(CloudSystem):
    """Only the first HTTP client of a system object works: others refuse every machine."""

    _has_client = False

    def http_client(self, identity):
        client = super().http_client(identity)
        if self._here is None and self._has_client:
            client.connect = _unreachable
        self._has_client = True
        return client


class _Gullible(CloudSystem):
    def http_client(self, identity):
        return super().http_client(_Believing(identity, self.believe))

    def believe(self, context):
        raise NotImplementedError


class _Believing:
    def __init__(self, identity, believe):
        self._identity = identity
        self._believe = believe

    def client_context(self):
        context = self._identity.client_context()
        self._believe(context)
        return context


@breaks(
    {
        "IDENTITY-3": "with its own certificate",
        "IDENTITY-4": "the client accepts a machine of another authority",
        "IDENTITY-7": "the client accepts a machine with a certificate of another",
    }
)
class TrustsAnyServer(_Gullible):
    """The HTTP client does not verify the server."""

    def believe(self, context):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE


@breaks(
    {
        "IDENTITY-3": "with its own certificate",
        "IDENTITY-7": "the client accepts a machine with the certificate of",
    }
)
class TrustsAnyMachineOfSession(_Gullible):
    """The HTTP client checks who has signed a certificate, but not whose it is."""

    def believe(self, context):
        context.check_hostname = False


@breaks({"IDENTITY-7": "the client accepts a machine with an expired certificate"})
class TrustsExpiredCertificates(_Gullible):
    """The HTTP client does not look at the time for which a certificate is valid."""

    def believe(self, context):
        context.verify_flags |= 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME


def _behind(client, gateway):
    connect = client.connect

    async def dial(host, port):
        return gateway(await connect(host, port))

    client.connect = dial
    return client


class _Gateway(trio.abc.Stream):
    def __init__(self, stream):
        self._stream = stream

    async def send_all(self, data):
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def aclose(self):
        await self._stream.aclose()


class _Limited(_Gateway):
    _sent = 0

    async def send_all(self, data):
        self._sent += len(data)
        if self._sent > _LIMIT_BYTES:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("413: too large")
        await super().send_all(data)


class _Endless(_Gateway):
    async def receive_some(self, max_bytes=None):
        try:
            data = await super().receive_some(max_bytes)
        except trio.BrokenResourceError:
            data = b""
        return data or await trio.sleep_forever()
