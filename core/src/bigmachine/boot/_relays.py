"""Who sends the environment to whom, so that the driver's uplink carries it about once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .._repeated_event import RepeatedEvent
from .._values import Instance

_DRIVER_ALONE = 4  # uploads at once, where machines can't reach one another
_FAILURES = 3  # of machines to reach one another, until that is taken for granted


class Relays:
    """The machines of one start, in the order in which they pass files on.

    They form a chain: the driver sends to the first, which passes each file on to the
    second while it still comes in, and so on. So each link carries everything once in
    each direction, and all have it little later than one alone would. A machine whose
    source fails takes another's place in the chain, or the driver serves it.
    """

    def __init__(self) -> None:
        self._relays: list[Relay] = []
        self._served_by_driver = 0
        self._failures = 0
        self._changed = RepeatedEvent()

    def join(self, instance: Instance) -> Relay:
        """Take note of a machine that serves what it has, and what it gets."""
        relay = Relay(instance)
        self._relays.append(relay)
        self._changed.set()
        return relay

    async def turn(self, relay: Relay) -> None:
        """Wait until `source_of` has something for a machine."""
        while self._choose(relay) is relay:
            await self._changed.wait()

    @contextlib.contextmanager
    def source_of(self, relay: Relay) -> Iterator[Relay | None]:
        """Hold a machine to fetch from, for the block; None is the driver. After `turn`."""
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

    def failed(self, source: Relay) -> None:
        """Ask a machine no more that could not be reached, or broke off."""
        source.is_usable = False
        self._failures += 1
        self._changed.set()

    def leave(self, relay: Relay) -> None:
        """Let nobody new fetch from a machine; those who do may finish."""
        relay.is_usable = False
        self._changed.set()

    async def drained(self, relay: Relay) -> None:
        """Wait until nobody fetches from a machine."""
        while relay.readers:
            await self._changed.wait()
        if relay in self._relays:
            self._relays.remove(relay)

    def _choose(self, relay: Relay) -> Relay | None:
        """Return the source for a machine, or itself if there is none now."""
        do_relay = self._failures < _FAILURES
        if do_relay:
            for other in self._relays:
                if other.is_usable and not other.readers and not other.depends_on(relay):
                    return other
        is_free = self._served_by_driver < (1 if do_relay else _DRIVER_ALONE)
        return None if is_free else relay


class Relay:
    """One machine of the chain: where it fetches from, and how many fetch from it."""

    def __init__(self, instance: Instance) -> None:
        self.name = instance.name
        self.address = instance.address
        self.source: Relay | None = None
        self.readers = 0
        self.is_usable = True

    def depends_on(self, other: Relay) -> bool:
        """Whether what it gets comes from ``other``, by however many steps."""
        link: Relay | None = self
        while link is not None:
            if link is other:
                return True
            link = link.source
        return False
