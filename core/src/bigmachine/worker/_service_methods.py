"""The supervisor's methods that install services, and pass large ones on to other machines."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Sequence

import trio

from ..boot._config import WorkerConfig
from ..rpc import Buffer, Connection, PickledService, dial
from ._installer import Installer
from ._service_store import Dial, ServiceStore


class ServiceMethods:
    """Serves a part of ``Supervisor.*``: the user's services, which ``installer`` installs.

    ``dial_peer`` connects to another machine.
    """

    def __init__(self, installer: Installer, *, dial_peer: Dial) -> None:
        self._installer = installer
        self._store = ServiceStore(dial_peer)

    async def register(self, name: str, pickled: PickledService) -> bool:
        """Install a service; see `Installer.install`."""
        return await self._installer.install(name, pickled)

    async def register_received(self, key: str) -> bool:
        """Do the same with the arguments of `register` that have come in pieces."""
        (name, pickled), _ = self._store.load(key)
        return await self._installer.install(name, pickled)

    async def expect_service(self, key: str, sizes: Sequence[int]) -> int:
        """Prepare for a service in pieces; see `ServiceStore.expect`."""
        return self._store.expect(key, sizes)

    async def receive_service(self, key: str, offset: int, pieces: AsyncIterator[Buffer]) -> None:
        """Take the pieces from ``offset`` on from the driver."""
        await self._store.receive(key, offset, pieces)

    async def fetch_service(self, key: str, addr: str) -> str:
        """Take the pieces that are missing from another machine; return why that failed, or ""."""
        return await self._store.fetch(key, addr)

    async def send_service(self, key: str, offset: int) -> AsyncIterator[bytes]:
        """Give another machine the pieces from ``offset`` on."""
        async with contextlib.aclosing(self._store.send(key, offset)) as pieces:
            async for piece in pieces:
                yield piece

    async def drop_services(self) -> None:
        """Keep no pieces for other machines any more."""
        self._store.drop()


def peer_dialler(config: WorkerConfig) -> Dial:
    """Return a function that connects to another machine of the session."""
    return functools.partial(_connected, config)


@contextlib.asynccontextmanager
async def _connected(config: WorkerConfig, addr: str) -> AsyncIterator[Connection]:
    from ..system._plugins import Plugins  # few machines ever need these

    hooks = Plugins(config.system).hooks
    async with (
        hooks.http_client(identity=config.identity) as http,
        dial(http, addr) as connection,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(connection.run)
        yield connection
        nursery.cancel_scope.cancel()
