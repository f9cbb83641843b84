"""The services of one start: pickled once, and sent to each of its machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from ..rpc import (
    Connection,
    Payload,
    copied_payload,
    dump_service,
    loaded,
    pickle_call,
    shared_payload,
)


class ServiceBatch:
    """What machines that start together install: ``services`` by name.

    Their large buffers are not copied, so the services must not change until all is sent, or they
    are kept by `copy`. What goes to machines of this host by shared memory is written there once.
    Each machine calls `join` and `leave`: after the last one, nothing is kept.

    Raises `UsageError` if one of them can't be pickled.
    """

    def __init__(self, services: Mapping[str, object]) -> None:
        self._calls = {
            name: pickle_call("Supervisor.register", (name, dump_service(name, service)), {})
            for name, service in services.items()
        }
        self._machines = 0
        self._writing = trio.Lock()
        self._written: set[str] = set()

    @property
    def names(self) -> Sequence[str]:
        """The names of the services, in the order in which they are to be installed."""
        return [*self._calls]

    def join(self) -> None:
        """Count a machine that is to install them."""
        self._machines += 1

    def leave(self) -> None:
        """Forget them, if it was the last machine: it has installed them, or never will."""
        self._machines -= 1
        if not self._machines:
            self._calls.clear()

    async def copy(self) -> None:
        """Keep them as they are now, so that the user's objects may change."""
        for name in self.names:
            await self._write(name, copied_payload)

    async def install(self, name: str, connection: Connection) -> bool:
        """Install a service on a machine; return if it has a ``teardown`` there."""
        if connection.shares_memory:
            await self._write(name, shared_payload)
        # No variable holds the call: the frames of what is raised here live long.
        outcome = await connection.outcome(self._calls[name])
        return bool(loaded(outcome.unwrap()))

    async def _write(self, name: str, write: Callable[[Payload], Payload]) -> None:
        async with self._writing:
            if name not in self._written and self._calls[name].payload.buffers:
                payload = await trio.to_thread.run_sync(write, self._calls[name].payload)
                self._calls[name] = self._calls[name]._replace(payload=payload)
            self._written.add(name)
