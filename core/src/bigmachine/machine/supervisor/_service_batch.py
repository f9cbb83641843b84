"""The services of one start: pickled once, and sent to each of its machines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import trio

from ...boot._relays import Reachability
from ...rpc import (
    Connection,
    Payload,
    PickledCall,
    copied_payload,
    dump_service,
    loaded,
    shared_payload,
)
from ._client import register
from ._service_relay import ServiceRelay

RELAYED_BYTES = 8 << 20
"""Services from this size on are passed on by machines; below, that takes longer than it saves."""

LOCAL_RELAYED_BYTES = 64 << 20
"""The same where all are of one host, and only the driver's own speed is to be saved."""

_FEW = 2  # machines, which the driver serves itself


class ServiceBatch:
    """What machines that start together install: ``services`` by name.

    Their large buffers are not copied, so the services must not change until all is sent, or they
    are kept by `copy`. What goes to machines of this host by shared memory is written there once;
    over the wire, machines pass large services on to each other. Each machine calls `join` and
    `leave`: after the last one, nothing is kept. ``reachability`` is what the session knows of
    whether machines reach each other.

    Raises `UsageError` if one of them can't be pickled.
    """

    def __init__(
        self, services: Mapping[str, object], reachability: Reachability | None = None
    ) -> None:
        self._calls: dict[str, PickledCall] = {}
        self._relays: dict[str, ServiceRelay] = {}
        for name, service in services.items():
            pickled = dump_service(name, service)
            self._calls[name] = register(name, pickled)
            if self._payload(name).size >= RELAYED_BYTES:
                payload = functools.partial(self._payload, name)
                self._relays[name] = ServiceRelay(pickled.key.hex(), payload, reachability)
        self.is_over = trio.Event()
        """Set when all machines have left."""
        self._joined = self._left = 0
        self._writing = trio.Lock()
        self._written: set[str] = set()

    @property
    def names(self) -> Sequence[str]:
        """The names of the services, in the order in which they are to be installed."""
        return [*self._calls]

    def join(self) -> None:
        """Count a machine that is to install them."""
        self._joined += 1

    def leave(self, addr: str) -> None:
        """Forget them, if it was the last machine: it has installed them, or never will."""
        for relay in self._relays.values():
            relay.leave(addr)
        self._left += 1
        if self._left == self._joined:
            self._calls.clear()
            self.is_over.set()

    async def copy(self) -> None:
        """Keep them as they are now, so that the user's objects may change."""
        for name in self.names:
            await self._write(name, copied_payload)

    async def install(self, name: str, connection: Connection) -> bool:
        """Install a service on a machine; return if it has a ``teardown`` there."""
        if connection.shares_memory:
            await self._write(name, shared_payload)
        elif self._is_relayed(name, connection):
            relay = self._relays[name]
            if await relay.deliver(connection):
                return await relay.install(connection)
        # No variable holds the call: an exception that is raised here keeps its frames for long.
        outcome = await connection.outcome(self._calls[name])
        return bool(loaded(outcome.unwrap()))

    def is_kept_by(self, addr: str) -> bool:
        """Whether a machine keeps services for others, until it is told to drop them."""
        return any(addr in relay for relay in self._relays.values())

    def _is_relayed(self, name: str, connection: Connection) -> bool:
        limit = LOCAL_RELAYED_BYTES if connection.is_local else RELAYED_BYTES
        return (
            name in self._relays
            and self._payload(name).size >= limit
            and self._joined > _FEW
            and not connection.connects_per_call
        )

    def _payload(self, name: str) -> Payload:
        return self._calls[name].payload

    async def _write(self, name: str, write: Callable[[Payload], Payload]) -> None:
        async with self._writing:
            if name not in self._written and self._payload(name).buffers:
                payload = await trio.to_thread.run_sync(write, self._payload(name))
                self._calls[name] = self._calls[name]._replace(payload=payload)
            self._written.add(name)
