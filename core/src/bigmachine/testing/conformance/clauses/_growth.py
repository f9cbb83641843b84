"""Clauses about state that grows: after many sessions and machines, all is as after a few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from .._clauses import must
from .._growth import Inventory
from .._kit import Kit
from .._processes import marked
from .._shared import SERVICES

_WARM_UP = 2  # rounds after which all caches are filled
_ROUNDS = 3
_BILLED_ROUNDS = 2
_FIRST_PAUSE = 0.2  # seconds; each is twice as long as the one before
_COUNTING = 60.0  # for the counts themselves, on a busy computer


class Growth:
    """Clauses about state that grows."""

    @must("STOP-7")
    async def test_nothing_grows_with_the_number_of_machines(self, kit: Kit) -> None:
        async with kit.session() as session:

            async def use_a_machine() -> None:
                machines = await session.start(1, services=SERVICES)
                await machines[0].call("Probe.echo", 1)
                for machine in machines:
                    await machine.shutdown()

            await _check_steady(kit, "machine", use_a_machine)

    @must("SHUTDOWN-4")
    async def test_nothing_grows_with_the_number_of_sessions(self, kit: Kit) -> None:
        async def use_a_session() -> None:
            async with kit.session() as session:
                [machine, *_] = await session.start(1, services=SERVICES)
                await machine.call("Probe.echo", 1)

        await _check_steady(kit, "session", use_a_session)


async def _check_steady(kit: Kit, what: str, use: Callable[[], Awaitable[None]]) -> None:
    inventory = Inventory(kit.system_class)
    rounds = _BILLED_ROUNDS if kit.is_billed else _ROUNDS

    def count() -> Counter[str]:
        return inventory.count(
            helpers=marked(kit.mark), files=len(kit.files()), leftovers=len(kit.leftovers())
        )

    for _ in range(_WARM_UP):
        await use()
    before = count()
    for _ in range(rounds):
        await use()

    def grown() -> dict[str, int]:
        # What grows by less is no more than chance: a thread that idles, a connection that ends.
        return {name: n for name, n in (count() - before).items() if n >= rounds}

    # Some of it takes a moment to go. To count takes a tenth of a second, so do it seldom.
    left, pause = grown(), _FIRST_PAUSE
    with kit.limiting("counting what a process has", 2 * kit.timeout + _COUNTING):
        deadline = trio.current_time() + kit.timeout
        while left and trio.current_time() < deadline:
            await trio.sleep(pause)
            left, pause = grown(), 2 * pause
    more = "; ".join(f"{n} more {name}" for name, n in sorted(left.items()))
    assert not left, f"after {rounds} more {what}s there are: {more}"
