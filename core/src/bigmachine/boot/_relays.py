"""Which machine fetches the environment from which: the driver's uplink carries it about once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .._repeated_event import RepeatedEvent
from .._values import Instance

_DRIVER_UPLOADS = 4  # at once, if machines can't reach one another
_MAX_FAILURES = 3  # of fetches; then machines are assumed not to reach one another


class Relays:
    """The machines of one start, in the order in which they pass files on.

    They form a chain: the driver sends to the first machine, which passes each file on to
    the second while it still comes in, and so on. Each link carries everything once in each
    direction, so all machines have it only a little later than one alone would. If a
    machine's source fails, it gets another source, or the driver serves it. ``reachability`` is
    what other starts of the session have found out.
    """

    def __init__(self, reachability: Reachability | None = None) -> None:
        self._reachability = reachability or Reachability()
        self._relays: list[Relay] = []
        self._served_by_driver = 0
        self._failures = 0
        self._changed = RepeatedEvent()

    def join(self, instance: Instance) -> Relay:
        """Add a machine; it serves what it has, and what it receives."""
        relay = Relay(instance)
        self._relays.append(relay)
        self._changed.set()
        return relay

    async def wait_for_source(self, relay: Relay) -> None:
        """Wait until there is a source for a machine."""
        while self._choose(relay) is relay:
            await self._changed.wait()

    @contextlib.contextmanager
    def source_for(self, relay: Relay) -> Iterator[Relay | None]:
        """Reserve a source for the block; None is the driver. After `wait_for_source`."""
        source = relay.source = self._choose(relay)
        if source is None:
            self._served_by_driver += 1
        else:
            source.readers += 1
        try:
            yield source
        finally:
            relay.source = None
            if source is None:
                self._served_by_driver -= 1
            else:
                source.readers -= 1
            self._changed.set()

    def mark_failed(self, source: Relay) -> None:
        """Use a source no more: it could not be reached, or broke off."""
        source.is_usable = False
        self._failures += 1
        self._reachability.failures += 1
        self._changed.set()

    def mark_reached(self) -> None:
        """Say that a machine has fetched something from another one."""
        self._reachability.is_proven = True

    def leave(self, relay: Relay) -> None:
        """Let no more machines fetch from this one; those that do may finish."""
        relay.is_usable = False
        self._changed.set()

    async def wait_drained(self, relay: Relay) -> None:
        """Wait until no machine fetches from this one."""
        while relay.readers:
            await self._changed.wait()
        if relay in self._relays:
            self._relays.remove(relay)

    def _choose(self, relay: Relay) -> Relay | None:
        """Return the source for a machine, None for the driver; itself if none is free."""
        do_relay = self._failures < self._max_failures and self._reachability.is_likely
        if do_relay:
            for other in self._relays:
                if other.is_usable and not other.readers and not other.depends_on(relay):
                    return other
        is_free = self._served_by_driver < (1 if do_relay else _DRIVER_UPLOADS)
        return None if is_free else relay

    @property
    def _max_failures(self) -> int:
        """How many machines may fail as sources: if all others have, there are no more."""
        return max(1, min(_MAX_FAILURES, len(self._relays) - 1))


class Reachability:
    """Whether machines of a session reach one another, as far as their fetches have shown.

    If each start had to find out again that they don't, each would lose seconds.
    """

    def __init__(self) -> None:
        self.is_proven = False
        """Whether a machine has fetched something from another one."""
        self.failures = 0
        """How many fetches have failed."""

    @property
    def is_likely(self) -> bool:
        return self.is_proven or self.failures < _MAX_FAILURES


class Relay:
    """One machine of the chain: where it fetches from, and how many fetch from it."""

    def __init__(self, instance: Instance) -> None:
        self.name = instance.name
        self.address = instance.address
        self.source: Relay | None = None
        self.readers = 0
        self.is_usable = True

    def depends_on(self, other: Relay) -> bool:
        """Whether what it receives comes from ``other``, directly or not."""
        link: Relay | None = self
        while link is not None:
            if link is other:
                return True
            link = link.source
        return False
