"""TLS authentication over real connections on loopback, and secrecy of keys."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from bigmachine._identity import Authority, Identity, prepare_server_context
from bigmachine.errors import ProtocolError, TransportError
from bigmachine.rpc import FrameConnection, Server, Services, dial, http_client
from tests.unit.rpc.wires import call_over

SESSION = "s1.bigmachine"
AUTHORITY = Authority(SESSION)
MACHINE = AUTHORITY.issue("m0")
DRIVER = AUTHORITY.issue("driver")
FOREIGN_DRIVER = Authority(SESSION).issue("driver")  # same name, other authority
OTHER_SESSION = Authority("s2.bigmachine").issue("driver")
EXPIRED = AUTHORITY.issue("late", valid_for=-datetime.timedelta(minutes=5))


class Service:
    def __init__(self) -> None:
        self.calls = 0

    async def call(self) -> int:
        self.calls += 1
        return self.calls


def run(test: Callable[[], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        if options:
            await test()
            return
        with trio.fail_after(60):
            await test()

    trio.run(main, **options)


@contextlib.asynccontextmanager
async def serving(
    service: object, identity: Identity = MACHINE
) -> AsyncIterator[tuple[Server, int]]:
    """A server on loopback, and its port."""
    services = Services()
    services.add("S", service)
    server = Server(services, identity=identity, maxprocs=1)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(server.serve, listeners)
        yield server, listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def call(client: Identity, port: int, name: str = MACHINE.name) -> Any:
    async with (
        http_client(client) as http,
        dial(http, f"https://127.0.0.1:{port}#{name}") as connection,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(connection, FrameConnection)
        nursery.start_soon(connection.run)
        result = await call_over(connection, "S.call", (), {})
        nursery.cancel_scope.cancel()
    return result


# -- authentication ------------------------------------------------------------


def test_identities_of_same_session_can_call_each_other() -> None:
    async def main() -> None:
        peer = AUTHORITY.issue("m1")
        async with serving(Service()) as (_, port):
            assert await call(DRIVER, port) == 1
            assert await call(peer, port) == 2
            assert await call(MACHINE, port) == 3

    run(main)


@pytest.mark.parametrize("kind", ["other authority", "other session", "expired"])
def test_foreign_or_expired_client_certificate_is_refused(kind: str) -> None:
    client = {
        "other authority": FOREIGN_DRIVER,
        "other session": OTHER_SESSION,
        "expired": EXPIRED,
    }[kind]
    # The client trusts the machine, but the machine does not trust the client.
    client = dataclasses.replace(client, authority=MACHINE.authority)

    async def main() -> None:
        service = Service()
        async with serving(service) as (_, port):
            with pytest.raises(ProtocolError, match="rejects our certificate") as error:
                await call(client, port)
            assert not error.value.temporary
            assert await call(DRIVER, port) == 1
        assert service.calls == 1

    run(main)


OTHER = Authority(SESSION)


@pytest.mark.parametrize("prepared", [AUTHORITY, OTHER], ids=["its own", "another"])
def test_server_trusts_its_own_authority_whatever_was_prepared(prepared: Authority) -> None:
    foreign = dataclasses.replace(OTHER.issue("driver"), authority=MACHINE.authority)

    async def main() -> None:
        prepare_server_context(prepared.certificate)
        async with serving(Service()) as (_, port):
            with pytest.raises(ProtocolError, match="rejects our certificate"):
                await call(foreign, port)
            assert await call(DRIVER, port) == 1

    run(main)


def test_server_takes_no_ticket_of_a_machine_that_was_forked_with_the_same_keys() -> None:
    prepare_server_context(AUTHORITY.certificate)
    for _ in ("prepared", "not prepared"):
        assert MACHINE.server_context().options & ssl.OP_NO_TICKET


def signed_for(name: str, subject: Identity, key: Any) -> bytes:
    """A certificate for ``name`` with the key of ``subject``, signed by ``key``, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    model = x509.load_pem_x509_certificate(subject.certificate)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(model.issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .public_key(model.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def test_client_certificate_must_name_session() -> None:
    # The chain proves only who signed the certificate, not whom it names.
    async def main() -> None:
        service = Service()
        async with serving(service) as (_, port):
            for name, is_accepted in (
                ("driver.s1.bigmachine", True),
                ("driver.s2.bigmachine", False),
            ):
                pem = signed_for(name, DRIVER, AUTHORITY._key)
                client = dataclasses.replace(DRIVER, certificate=pem)
                if is_accepted:
                    assert await call(client, port) == 1
                else:
                    with pytest.raises((ProtocolError, TransportError)):
                        await call(client, port)
        assert service.calls == 1

    run(main)


def test_client_without_certificate_is_refused() -> None:
    async def main() -> None:
        service = Service()
        context = ssl.create_default_context(cadata=MACHINE.authority.decode())
        context.check_hostname = False
        async with serving(service) as (_, port):
            stream = await trio.open_ssl_over_tcp_stream(
                "127.0.0.1", port, ssl_context=context, https_compatible=True
            )
            async with stream:
                await stream.do_handshake()  # TLS 1.3: client is done before it is verified
                with pytest.raises(trio.BrokenResourceError) as error:
                    await stream.receive_some(1)
            assert "certificate required" in str(error.value.__cause__)
            assert await call(DRIVER, port) == 1

    run(main)


def test_server_refuses_tls_below_1_3() -> None:
    async def main() -> None:
        context = DRIVER.client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        async with serving(Service()) as (_, port):
            stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
            with pytest.raises(trio.BrokenResourceError) as error:
                await stream.do_handshake()
            assert "protocol version" in str(error.value.__cause__)
            await trio.aclose_forcefully(stream)

    run(main)


def test_client_refuses_tls_below_1_3() -> None:
    async def main() -> None:
        context = MACHINE.server_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with tls_server(context) as port:
            # The server may or may not send a reason.
            with pytest.raises((ProtocolError, TransportError)):
                await call(DRIVER, port)

    run(main)


@contextlib.asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS server that is not a machine; yields its port."""

    async def handle(stream: trio.SSLStream[Any]) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while await stream.receive_some(100):
                    pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(
            0, context, host="127.0.0.1", https_compatible=True
        )
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield listeners[0].transport_listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def test_client_refuses_machine_with_other_name() -> None:
    async def main() -> None:
        service = Service()
        async with serving(service, AUTHORITY.issue("m1")) as (_, port):
            with pytest.raises(ProtocolError, match=r"is not m0\.s1\.bigmachine") as error:
                await call(DRIVER, port)
            assert "m0.s1.bigmachine" in str(error.value)
            assert await call(DRIVER, port, "m1.s1.bigmachine") == 1
        # The driver's certificate is not accepted for a machine either.
        async with serving(service, DRIVER) as (_, port):
            with pytest.raises(ProtocolError):
                await call(DRIVER, port)
        assert service.calls == 1

    run(main)


def test_client_refuses_machine_of_other_session() -> None:
    async def main() -> None:
        for authority in (Authority("s2.bigmachine"), Authority(SESSION)):
            machine = authority.issue("m0")
            async with serving(Service(), machine) as (_, port):
                with pytest.raises(ProtocolError, match="certificate verify failed"):
                    await call(DRIVER, port, machine.name)

    run(main)


def test_server_refuses_plaintext() -> None:
    async def main() -> None:
        service = Service()
        async with serving(service) as (_, port):
            for first in (b"GET /rpc HTTP/1.1\r\nhost: m\r\n\r\n", b"\0" * 100):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(first)
                    answer = b""
                    with contextlib.suppress(trio.BrokenResourceError):
                        while part := await stream.receive_some(1000):
                            answer += part
                    assert b"HTTP" not in answer
            assert await call(DRIVER, port) == 1

    run(main)


class MakesFolderWhenUnpickled:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_data_from_unauthenticated_client_is_never_unpickled(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "unpickled"
        body = pickle.dumps(((MakesFolderWhenUnpickled(path),), {}))
        head = f"POST /rpc/S.call HTTP/1.1\r\nhost: m\r\ncontent-length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        no_certificate = ssl.create_default_context(cadata=MACHINE.authority.decode())
        contexts = {"none": no_certificate}
        for name, identity in (("foreign", FOREIGN_DRIVER), ("expired", EXPIRED)):
            client = dataclasses.replace(identity, authority=MACHINE.authority)
            contexts[name] = client.client_context()
        async with serving(Service()) as (_, port):
            for context in contexts.values():
                context.check_hostname = False
                stream = await trio.open_ssl_over_tcp_stream(
                    "127.0.0.1", port, ssl_context=context, https_compatible=True
                )
                # With TLS 1.3 a client may send data before the server has verified it.
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(request)
                    assert await stream.receive_some(1000) == b""
                await trio.aclose_forcefully(stream)
            async with await trio.open_tcp_stream("127.0.0.1", port) as plain:
                await plain.send_all(request)
                with contextlib.suppress(trio.BrokenResourceError):
                    while await plain.receive_some(1000):
                        pass
            assert not path.exists()
            # The same request from the driver is unpickled, so the test would notice.
            context = DRIVER.client_context()
            context.check_hostname = False
            stream = await trio.open_ssl_over_tcp_stream(
                "127.0.0.1", port, ssl_context=context, https_compatible=True
            )
            async with stream:
                await stream.send_all(request)
                assert await stream.receive_some(1000)
            assert path.exists()

    run(main)


# -- slow clients --------------------------------------------------------------


class StreamListener(trio.abc.Listener[Any]):
    """A listener that accepts the given streams only."""

    def __init__(self, *streams: Any) -> None:
        self.streams = list(streams)

    async def accept(self) -> Any:
        if self.streams:
            return self.streams.pop()
        return await trio.sleep_forever()

    async def aclose(self) -> None: ...


def test_client_that_never_finishes_handshake_is_disconnected() -> None:
    async def main() -> None:
        silent, server_end = trio.testing.memory_stream_pair()
        slow, other_server_end = trio.testing.memory_stream_pair()
        server = Server(Services(), identity=MACHINE, maxprocs=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, [StreamListener(server_end, other_server_end)])

            async def send_slowly() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    while True:
                        await slow.send_all(b"\x16\x03\x01\x02\x00"[:1])
                        await trio.sleep(1)

            nursery.start_soon(send_slowly)
            for stream in (silent, slow):
                with trio.fail_after(120):
                    while await stream.receive_some(100):
                        pass
            nursery.cancel_scope.cancel()

    run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_half_open_connections_do_not_block_other_clients() -> None:
    async def main() -> None:
        service = Service()
        async with serving(service) as (_, port):
            with contextlib.ExitStack() as stack:
                for i in range(100):
                    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    if i % 2:
                        sock.send(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
                for i in range(5):
                    assert await call(DRIVER, port) == i + 1

    run(main)


# -- secrecy of keys -----------------------------------------------------------


def test_cryptography_is_imported_only_to_create_certificates() -> None:
    script = """
import sys
import bigmachine._identity as identity
import bigmachine.rpc
def heavy(): return {"cryptography", "httpx", "numpy", "rich", "asyncio"} & set(sys.modules)
assert not heavy(), heavy()
a = identity.Authority("s.bigmachine")
assert heavy() == {"cryptography"}, heavy()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_using_identity_does_not_import_cryptography() -> None:
    script = """
import pickle, sys
identity = pickle.loads(sys.stdin.buffer.read())
identity.server_context(), identity.client_context()
assert "cryptography" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], input=pickle.dumps(MACHINE), check=True)


def test_identity_does_not_contain_key_of_authority() -> None:
    from cryptography.hazmat.primitives import serialization

    authority = Authority(SESSION)
    identity = authority.issue("m0")
    numbers = authority._key.private_numbers().private_value.to_bytes(32, "big")
    pem = authority._key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    der = authority._key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for secret in (numbers, pem, der, pem.split(b"\n")[1]):
        for text in (
            pickle.dumps(identity),
            repr(identity).encode(),
            repr(authority).encode(),
            repr(vars(authority)).encode(),
        ):
            assert secret not in text
    assert b"PRIVATE" not in identity.authority
    assert b"PRIVATE" not in identity.certificate
    assert identity.key != authority.issue("m0").key


def test_repr_of_identity_shows_name_but_not_key() -> None:
    for text in (repr(MACHINE), str(MACHINE), f"{MACHINE}", repr([MACHINE]), f"{MACHINE!r}"):
        assert MACHINE.name in text
        assert "PRIVATE" not in text
        assert MACHINE.key.decode().split("\n")[1] not in text


def test_loading_key_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    MACHINE.server_context()
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) <= before  # others may be collected
    # The same without memfd_create.
    monkeypatch.delattr(os, "memfd_create", raising=False)
    context = MACHINE.client_context()
    assert os.listdir(tmp_path) == []
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


# -- content of certificates ---------------------------------------------------


def test_certificate_names_machine_and_session_and_cannot_sign() -> None:
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate(MACHINE.certificate)
    root = x509.load_pem_x509_certificate(MACHINE.authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["m0.s1.bigmachine"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.ca
    assert constraints.path_length == 0
    leaf.verify_directly_issued_by(root)
    # The driver's clock may be ahead of the machine's.
    now = datetime.datetime.now(datetime.UTC)
    assert leaf.not_valid_before_utc < now - datetime.timedelta(hours=1)
    assert leaf.not_valid_after_utc > now + datetime.timedelta(days=30)


def test_machine_cannot_sign_certificates_for_others() -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(MACHINE.key, None)
    forged = signed_for("driver.s1.bigmachine", MACHINE, key)
    client = dataclasses.replace(MACHINE, certificate=forged + MACHINE.certificate)

    async def main() -> None:
        service = Service()
        async with serving(service) as (_, port):
            with pytest.raises((ProtocolError, TransportError)):
                await call(client, port)
        assert service.calls == 0

    run(main)


@pytest.mark.parametrize(
    ("certificate", "is_accepted"),
    [
        ({"subjectAltName": (("DNS", "m0.s1.bigmachine"),)}, True),
        ({"subjectAltName": (("DNS", "s1.bigmachine"),)}, False),
        ({"subjectAltName": (("DNS", "m0s1.bigmachine"),)}, False),
        ({"subjectAltName": (("DNS", "m0.s1.bigmachine.evil"),)}, False),
        ({"subjectAltName": (("DNS", "m0.s2.bigmachine"),)}, False),
        ({"subjectAltName": (("IP Address", "x.s1.bigmachine"),)}, False),
        ({"subject": ((("commonName", "m0.s1.bigmachine"),),)}, False),
        ({}, False),
        (None, False),
    ],
)
def test_name_of_peer_comes_from_its_certificate(
    certificate: dict[str, Any] | None, is_accepted: bool
) -> None:
    if is_accepted:
        assert MACHINE.check_peer(certificate) == "m0.s1.bigmachine"
    else:
        with pytest.raises(ProtocolError, match="names nobody of session"):
            MACHINE.check_peer(certificate)


def test_certificates_can_be_created_in_several_threads() -> None:
    found: list[Identity] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(AUTHORITY.issue(f"t{i}")))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {identity.name for identity in found} == {f"t{i}.{SESSION}" for i in range(8)}
    assert len({identity.key for identity in found}) == 8
