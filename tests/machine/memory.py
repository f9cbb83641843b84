"""A system whose machines live in this process, behind in-memory connections.

Everything but the sockets is real: client, server, frames, TLS. Under
`trio.testing.MockClock` an hour passes as fast as it is computed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx
import trio
from trio.testing import memory_stream_pair

import bigmachine as bm
from bigmachine._worker import serve
from bigmachine.boot import Boot, WorkerConfig
from bigmachine.system import Capability, Gone, Identity, Instance, Keepalive, System
from bigmachine.worker import set_up


class MemorySystem(System):
    """Machines as tasks; `kill`, `partition` and `heal` do to them what the world does."""

    name = "memory"
    boot_timeout = 300.0
    capabilities = frozenset({Capability.TAIL})

    def __init__(self, options: Any = None, *, timings: Keepalive | None = None) -> None:
        super().__init__(options)
        self.timings = timings or Keepalive(period=60, timeout=120, rpc_timeout=10)
        self.nursery: trio.Nursery | None = None
        self.network: dict[str, Host] = {}
        self.stopped: list[str] = []
        self.exits: dict[str, int] = {}
        self.is_telling = True  # whether keepalive_failed knows of killed machines
        self.start_count: int | None = None
        self.boot_lines: list[bytes] = []

    async def start(self, count: int, boot: Boot) -> list[Instance]:
        assert self.nursery is not None
        instances = []
        for _ in range(count if self.start_count is None else self.start_count):
            machine = boot.machine()
            address = f"{machine.name.partition('.')[0]}:1"
            host = self.network[address] = Host(machine.name)
            self.nursery.start_soon(self._run, host, machine.config)
            instances.append(Instance(name=machine.name, address=address))
        return instances

    async def _run(self, host: Host, config_bytes: bytes) -> None:
        import pickle

        config: WorkerConfig = pickle.loads(pickle.loads(config_bytes)["config"])
        system = Machine(self, host)
        object.__setattr__(config, "system", system)
        with host.scope:
            await serve(config, address=host.name, set_up=set_up)

    def keepalive(self) -> Keepalive:
        return self.timings

    def maxprocs(self) -> int | None:
        return 2

    async def keepalive_failed(self, instance: Instance) -> Gone | None:
        host = self.network[instance.address]
        if host.scope.cancel_called and self.is_telling:
            return Gone(bm.StopReason.EXITED, "killed in a test")
        return None

    async def tail(self, instance: Instance) -> Any:
        for line in self.boot_lines:
            yield line
        await self.network[instance.address].is_dead.wait()

    async def stop(self, instance: Instance) -> None:
        self.network[instance.address].kill()
        self.stopped.append(instance.name)

    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport()
        transport._pool = httpcore.AsyncConnectionPool(  # type: ignore[assignment]
            ssl_context=identity.client_context(),
            max_connections=None,
            network_backend=Network(self.network),
        )
        return httpx.AsyncClient(transport=transport, timeout=None)

    def host(self, machine: bm.AsyncMachine) -> Host:
        return self.network[machine.instance.address]


class Machine(System):
    """The system as a machine has it."""

    name = "memory"

    def __init__(self, driver: MemorySystem, host: Host) -> None:
        super().__init__()
        self._driver = driver
        self._host = host

    async def listen(self, address: str) -> Any:
        return [self._host]

    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        return self._driver.http_client(identity)

    async def start(self, count: int, boot: Boot) -> list[Instance]:
        raise NotImplementedError

    def exit(self, code: int) -> Any:
        self._driver.exits[self._host.name] = code
        self._host.kill()


class Host(trio.abc.Listener[trio.StapledStream[Any, Any]]):
    """One machine's place on the network."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scope = trio.CancelScope()
        self.is_up = trio.Event()
        self.is_up.set()
        self.is_dead = trio.Event()
        self.is_refusing = False
        self._arrivals, self._accepted = trio.open_memory_channel[Any](1000)
        self._streams: list[Any] = []

    async def accept(self) -> Any:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        self.is_refusing = True

    async def dial(self) -> Any:
        await self.is_up.wait()
        if self.is_refusing:
            raise ConnectionRefusedError
        ours, theirs = memory_stream_pair()
        cut = Cut(self, ours)
        self._streams.append((ours, theirs))
        self._arrivals.send_nowait(Cut(self, theirs))
        return cut

    def kill(self) -> None:
        """End the machine: its connections break, its port refuses."""
        self.is_refusing = True
        self.is_dead.set()
        self.scope.cancel()
        self.reset()

    def reset(self) -> None:
        """Break every connection."""
        for ours, theirs in self._streams:
            ours.send_stream.close()
            theirs.send_stream.close()

    def partition(self) -> None:
        """Let nothing through, and say nothing."""
        self.is_up = trio.Event()

    def heal(self) -> None:
        self.is_up.set()


class Cut(trio.abc.Stream):
    """A stream that holds back what is sent while its host is partitioned."""

    def __init__(self, host: Host, stream: Any) -> None:
        self._host = host
        self._stream = stream

    async def send_all(self, data: Any) -> None:
        await self._host.is_up.wait()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> Any:
        data = await self._stream.receive_some(max_bytes)
        await self._host.is_up.wait()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class Network(httpcore.AsyncNetworkBackend):
    def __init__(self, hosts: dict[str, Host]) -> None:
        self._hosts = hosts

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            there = self._hosts.get(f"{host}:{port}")
            if there is None:
                raise ConnectionRefusedError
            return _Stream(await there.dial())
        except OSError as exc:
            raise httpcore.ConnectError from exc

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore.ReadError from exc

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            try:
                await self._stream.send_all(buffer)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise httpcore.WriteError from exc

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        tls = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError as exc:
            raise httpcore.ConnectError from exc
        return _Stream(tls)

    def get_extra_info(self, info: str) -> Any:
        return None
