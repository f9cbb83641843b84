"""The service that the kit installs on machines, to examine them from the inside.

Imports the standard library and trio only: machines have no pytest.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from bigmachine import AsyncPeerSession

BOOT_FAILS = "conformance: this boot fails on purpose"


def fail_boot() -> NoReturn:
    """Raise an error; runs when a broken configuration is unpickled."""
    raise RuntimeError(BOOT_FAILS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a machine's process runs: process ids are comparable if ``host`` is equal."""

    host: str
    pid: int


class Probe:
    """Runs on the machine what a test needs there."""

    def __init__(self) -> None:
        self.waits = 0
        self.cancelled = 0
        self.session: AsyncPeerSession | None = None
        self._release = threading.Event()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]

    async def setup(self, session: AsyncPeerSession) -> None:
        """Keep the session, for `ask_peer`."""
        self.session = session

    # -- calls ------------------------------------------------------------------

    def echo(self, value: object) -> object:
        """Return ``value``."""
        return value

    async def echo_async(self, value: object, *, times: int = 1) -> list[object]:
        """Return ``value``, several times."""
        return [value] * times

    def fail(self, text: str) -> NoReturn:
        """Raise `LookupError`."""
        raise LookupError(text)

    def count(self, to: int) -> Iterator[int]:
        """Yield the numbers below ``to``."""
        yield from range(to)

    async def total(self, numbers: AsyncIterator[int]) -> int:
        """Add up a stream."""
        total = 0
        async for number in numbers:
            total += number
        return total

    def digest(self, data: bytes) -> tuple[int, str]:
        """Return the size and the SHA-256 of ``data``."""
        return len(data), hashlib.sha256(data).hexdigest()

    def pattern(self, size_bytes: int) -> bytes:
        """Return ``size_bytes`` random bytes."""
        return os.urandom(size_bytes)

    async def wait_forever(self) -> None:
        """Wait until cancelled, and count both."""
        self.waits += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1

    async def count_waits(self) -> tuple[int, int]:
        """Return how many waits have begun, and how many of them were cancelled."""
        return self.waits, self.cancelled

    def block(self) -> None:
        """Block a worker thread and ignore cancellation."""
        self._release.wait(_BLOCK_TIMEOUT)

    async def ask_peer(self, addr: str) -> str:
        """Connect to another machine from this one; return its name."""
        assert self.session is not None
        peer = await self.session.connect(addr)
        try:
            return str((await peer.call("Supervisor.info")).name)
        finally:
            await peer.shutdown()

    # -- the machine ------------------------------------------------------------

    def place(self) -> Place:
        """Return where this process runs."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            host = f"{boot}/{os.readlink('/proc/self/ns/pid')}"
        except OSError:
            host = socket.gethostname()
        return Place(host, os.getpid())

    def processors(self) -> int:
        """Return how many processors this process may run on."""
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def environ(self, name: str) -> str | None:
        """Return an environment variable."""
        return os.environ.get(name)

    def argv(self) -> list[str]:
        """Return `sys.argv`."""
        return sys.argv

    def print_lines(self, first: int, count: int, *, to_stderr: bool = False) -> None:
        """Print numbered lines."""
        stream = sys.stderr if to_stderr else sys.stdout
        for number in range(first, first + count):
            print(f"line {number}", file=stream)
        stream.flush()

    def print_raw(self, data: bytes) -> None:
        """Write bytes that need not be text or whole lines."""
        os.write(1, data)

    def write_file(self, data: bytes, *, name: str = "content") -> str:
        """Write a new file, in a folder of its own; return its path."""
        path = Path(tempfile.mkdtemp(prefix="bigmachine-conformance-"), name)
        path.write_bytes(data)
        return str(path)

    def remove_file(self, path: str) -> None:
        """Remove a file of `write_file`, and its folder."""
        os.unlink(path)
        os.rmdir(os.path.dirname(path))

    def end(self, status: int) -> NoReturn:
        """End this process: with an exit status, or by a signal if it is negative."""
        if status < 0:
            os.kill(os.getpid(), -status)
        os._exit(status)

    def start_child(self) -> int:
        """Start a process that runs for ten minutes unless it is killed; return its id."""
        # Not by `subprocess`, which warns if nobody waits for the process. Wait until it writes:
        # when a spawn returns, Linux does not show the child's environment yet.
        program = "import os, time; os.write(1, b'.'); time.sleep(600)"
        reading, writing = os.pipe()
        with open(reading, "rb") as said:
            argv = [sys.executable, "-ISc", program]
            to_stdout = [(os.POSIX_SPAWN_DUP2, writing, 1)]
            pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=to_stdout)
            os.close(writing)
            said.read(1)
        return pid

    # -- what it listens on ------------------------------------------------------

    def open_ports(self) -> list[str]:
        """Try every port that this process listens on, without a certificate.

        Returns one line for each that gave an answer: in clear, or over TLS to a
        client without certificate. A refusal (the connection ends, a TLS alert) is no
        answer.
        """
        found = []
        for host, port in _listening():
            for way, ask in (("in clear", _ask_in_clear), ("over TLS", _ask_over_tls)):
                answer = ask(host, port)
                if answer:
                    found.append(
                        f"{host}:{port} answers a client without certificate {way}: {answer[:40]!r}"
                    )
        return found


_REQUEST = b"GET /rpc HTTP/1.1\r\nHost: machine\r\n\r\n"
_LISTEN = "0A"  # the state's number in /proc/net/tcp
_ASK_TIMEOUT = 5.0
_BLOCK_TIMEOUT = 30.0  # where the machine is a part of the driver, the thread outlives it


def _listening() -> Iterator[tuple[str, int]]:
    """Yield the TCP addresses that this process listens on, as Linux tells them."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return
    links = set()
    for descriptor in descriptors:
        try:
            links.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            rows = Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in links:
                address, port = fields[1].split(":")
                yield _host(address, family), int(port, 16)


def _host(text: str, family: socket.AddressFamily) -> str:
    # Words of 32 bits in the computer's own order; a wildcard is reached by loopback.
    words = [int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8)]
    packed = b"".join(words)
    if not any(packed):
        return "127.0.0.1" if family == socket.AF_INET else "::1"
    return socket.inet_ntop(family, packed)


def _ask_in_clear(host: str, port: int) -> bytes:
    try:
        with socket.create_connection((host, port), _ASK_TIMEOUT) as sock:
            sock.sendall(_REQUEST)
            answer = sock.recv(100)
    except OSError:
        return b""
    is_alert = answer[:1] == b"\x15"  # TLS says that this was no TLS
    return b"" if is_alert else answer


def _ask_over_tls(host: str, port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), _ASK_TIMEOUT) as sock,
            context.wrap_socket(sock, server_hostname="stranger") as tls,
        ):
            tls.sendall(_REQUEST)
            return tls.recv(100)
    except OSError:  # ssl.SSLError is one
        return b""
