"""The server of the boot program against slow, silent and greedy peers, with short time limits."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigmachine._identity import Authority
from bigmachine.boot.vm import server as server_module
from bigmachine.boot.vm.blobs import BlobStore
from bigmachine.boot.vm.common import Configuration
from bigmachine.boot.vm.server import BODY_BYTES, MAX_CONNECTIONS, BootServer
from tests.support.vms.rig import boot_of, hash_of

BLOB = b"0123456789"


class Rig:
    """A boot server in this process, and blocking clients of it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority("test.bigmachine")
        self.credential = boot_of(self.authority).credential
        config = Configuration(
            {
                "session": "test.bigmachine",
                "certificate": self.credential.certificate.decode(),
                "key": f"{self.credential.private_number():x}",
                "authority": self.credential.authority.decode(),
                "listen": "127.0.0.1:0",
                "contact_seconds": 60.0,
                "silence_seconds": 60.0,
                "lifetime_seconds": 0.0,
                "folder": "",
                "runtime": "",
                "poweroff": [],
            }
        )
        self.said: list[str] = []
        self.blobs = BlobStore(str(folder), heard=lambda: None)
        self.blobs.expect({hash_of(BLOB): len(BLOB)}, check=False)
        self.server = BootServer(config, blobs=self.blobs, heard=lambda: None, say=self.said.append)

    def stranger(self) -> socket.socket:
        return socket.create_connection(self.server.listener.getsockname(), timeout=20)

    def member(self, name: str = "driver") -> ssl.SSLSocket:
        context = self.authority.issue(name).client_context()
        return context.wrap_socket(self.stranger(), server_hostname=self.credential.name)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    r = Rig(tmp_path)

    def call(method: str, arguments: Any) -> Any:
        return {"method": method}

    thread = threading.Thread(target=r.server.serve, args=(call,))
    thread.start()
    r.member().close()  # it serves
    yield r
    r.server.hand_over({})
    thread.join()
    r.server.listener.close()
    assert "Traceback" not in "".join(r.said)


def reply(tls: ssl.SSLSocket) -> bytes:
    """Receive one whole response; it ends with JSON."""
    data = b""
    while not data.endswith(b"}\n"):
        part = tls.recv(1000)
        assert part, data
        data += part
    return data


def post(body: bytes = b"", *, size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return b"POST /rpc/Boot.info HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % length + body


def put(data: bytes, *, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    head = f"PUT /blobs/{hash_of(BLOB)}?0 HTTP/1.1\r\ncontent-length: {length}\r\n\r\n"
    return head.encode() + data


def test_slow_peers_of_boot_program_are_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 0.2)
    with rig.stranger() as silent:
        assert silent.recv(1) == b""
    with rig.member() as tls:
        assert tls.recv(1) == b""
    with rig.member() as tls:  # a head that never ends
        tls.sendall(b"POST /rpc/Boot.info HTTP/1.1\r\ncontent-le")
        assert tls.recv(1) == b""
    with rig.member() as tls:  # and a body
        tls.sendall(post(b"{", size=100))
        assert b"HTTP/1.1 507 " in reply(tls)


def test_requests_beyond_their_size_are_refused(rig: Rig) -> None:
    for size in (BODY_BYTES + 1, -1):
        with rig.member() as tls:
            tls.sendall(post(b"{}", size=size))
            assert b" 413 " in reply(tls)
    for data, size in ((BLOB + b"x", None), (BLOB * 1000, 1 << 40), (BLOB * 1000, -1)):
        with rig.member() as tls:
            tls.sendall(put(data, size=size))
            response = reply(tls)
        assert b" 413 " in response
        assert b"it is larger than planned" in response
    assert rig.blobs.missing() == {hash_of(BLOB): 0}
    with rig.member() as tls:
        tls.sendall(put(BLOB))
        assert b" 200 " in reply(tls)
    assert rig.blobs.missing() == {}


def test_blob_of_peer_beyond_its_size_is_refused(rig: Rig) -> None:
    class Endless:
        name = "m7"

        def blob(self, sha256: str, offset: int) -> Any:
            return self

        def read1(self, count: int) -> bytes:
            return bytes(count)

        def close(self) -> None:
            pass

    said: list[str] = []
    rig.blobs.fetch([hash_of(BLOB)], Endless(), said.append)  # type: ignore[arg-type]
    assert "it is larger than planned" in said[0]
    assert rig.blobs.missing() == {hash_of(BLOB): 0}


NO_BLOB = b"GET /blobs/0 HTTP/1.1\r\n\r\n"


def test_members_give_way_to_new_ones_after_strangers(rig: Rig) -> None:
    first = rig.member("m1")
    first.sendall(NO_BLOB[:9])
    strangers = [rig.stranger() for _ in range(MAX_CONNECTIONS)]
    with rig.member() as driver:
        driver.sendall(post(b"{}"))
        assert b" 200 " in reply(driver)
        first.sendall(NO_BLOB[9:])  # it was kept, although it is older
        assert b" 404 " in reply(first)
        members = []
        for _ in range(MAX_CONNECTIONS):
            members.append(rig.member("m2"))
            members[-1].sendall(NO_BLOB)
            assert b" 404 " in reply(members[-1])
        assert first.recv(1) == b""
        assert driver.recv(1) == b""
    for sock in (first, *strangers, *members):
        sock.close()
