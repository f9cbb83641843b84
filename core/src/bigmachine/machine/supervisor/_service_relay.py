"""A large service on its way to the machines of one start: the driver sends it about once."""

from __future__ import annotations

import logging
import pickle
from collections.abc import AsyncIterator, Callable

from ..._values import Instance
from ...boot._relays import Reachability, Relay, Relays
from ...rpc import Connection, Payload, PickledCall, loaded
from ._client import receive_service, supervisor

logger = logging.getLogger("bigmachine.machine")

_PIECE_BYTES = 1 << 20  # that a machine has before it passes anything on, in pieces of its own


class ServiceRelay:
    """Brings one service to machines, in pieces that each passes on to the next, as `Relays` say.

    ``payload`` returns the arguments of the call that installs it: its pickle and its buffers, one
    after the other. ``key`` is its name among machines.
    """

    def __init__(
        self, key: str, payload: Callable[[], Payload], reachability: Reachability | None = None
    ) -> None:
        self._key = key
        self._payload = payload
        self._relays = Relays(reachability)
        self._relay_of: dict[str, Relay] = {}  # the machine with this address
        self._complete: set[str] = set()

    def __contains__(self, addr: str) -> bool:
        """Whether the machine with this address has it, or a part of it."""
        return addr in self._relay_of

    async def deliver(self, connection: Connection) -> bool:
        """Return when a machine has all of it; False if there is no room where it would keep it.

        If the connection is lost, call this again.
        """
        try:
            await self._deliver(connection)
        except MemoryError as exc:
            logger.debug("%s passes nothing on: %s", connection.machine, exc)
            self.leave(connection.addr)
            await supervisor(connection).drop_services()
            return False
        self._complete.add(connection.addr)
        return True

    async def install(self, connection: Connection) -> bool:
        """Install it on a machine that has it; return if it has a ``teardown`` there."""
        return await supervisor(connection).register_received(self._key)

    def leave(self, addr: str) -> None:
        """Have no others fetch from a machine that will never have all of it."""
        if addr in self._relay_of and addr not in self._complete:
            self._relays.leave(self._relay_of[addr])

    async def _deliver(self, connection: Connection) -> None:
        size = self._payload().size
        while (offset := await self._filled(connection)) < size:
            relay = self._relay(connection)
            await self._relays.wait_for_source(relay)
            with self._relays.source_for(relay) as source:
                if source is None:
                    await self._send(connection, offset)
                else:
                    await self._fetch(connection, source)

    def _relay(self, connection: Connection) -> Relay:
        """Return a machine's place in the chain: it has one once it knows the service."""
        if connection.addr not in self._relay_of:
            machine = Instance(name=connection.machine, address=connection.addr)
            self._relay_of[connection.addr] = self._relays.join(machine)
        return self._relay_of[connection.addr]

    async def _filled(self, connection: Connection) -> int:
        return await supervisor(connection).expect_service(self._key, self._sizes())

    def _sizes(self) -> list[int]:
        payload = self._payload()
        return [payload.pickle_bytes, *(buffer.nbytes for buffer in payload.buffers)]

    async def _send(self, connection: Connection, offset: int) -> None:
        # No variable holds the call: the frames of what is raised here live long.
        loaded((await connection.outcome(self._rest(offset))).unwrap())

    def _rest(self, offset: int) -> PickledCall:
        """Return the call that gives a machine all from ``offset`` on."""
        return receive_service(self._key, offset, _pieces(self._payload(), offset))

    async def _fetch(self, connection: Connection, source: Relay) -> None:
        if why := await supervisor(connection).fetch_service(self._key, source.address):
            logger.debug("%s can't fetch from %s: %s", connection.machine, source.name, why)
            self._relays.mark_failed(source)
        else:
            self._relays.mark_reached()


async def _pieces(payload: Payload, offset: int) -> AsyncIterator[pickle.PickleBuffer]:
    """Yield all from ``offset`` on, without a copy."""
    for part in (*payload.chunks, *payload.buffers):
        view = memoryview(part)
        for at in range(min(offset, len(view)), len(view), _PIECE_BYTES):
            yield pickle.PickleBuffer(view[at : at + _PIECE_BYTES])
        offset = max(0, offset - len(view))
