"""Clauses about what comes after a failure: the next start works, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from bigmachine.errors import StartError

from .._clauses import must
from .._kit import Kit
from .._loop import after_steps
from .._shared import SERVICES
from .._wrappers import BootBreaker
from ._starting import cancel_start

if TYPE_CHECKING:
    from bigmachine.session._async import AsyncSession

_CANCEL_AFTER = (1, 3, 9, 27)  # steps of the loop
_DEATHS = (2, 16, 10_000)  # likewise, after which drivers are killed; the last one, as it runs
_SLOWER = 5  # than the first start of a session; a start that waits for a lock takes for ever


class Recovery:
    """Clauses about starts after one that failed, was cancelled, or died with its driver."""

    @must("START-12")
    async def test_start_works_after_one_that_failed_or_was_cancelled(self, kit: Kit) -> None:
        system, breaker = kit.system(), BootBreaker()
        breaker.is_idle = True
        async with kit.session(breaker, system=system) as session:
            began = trio.current_time()
            await _start_one(session)
            within = kit.timeout + _SLOWER * (trio.current_time() - began)
            for steps in _CANCEL_AFTER:
                await cancel_start(kit, session, after_steps(steps))
                async with kit.promptly(
                    f"a start after one that was cancelled after {steps} steps of the loop", within
                ):
                    await _start_one(session)
            breaker.is_idle = False
            system.boot_timeout = kit.timeout
            with pytest.raises(StartError):
                await session.start(1, services=SERVICES)
            breaker.is_idle = True
            async with kit.promptly("a start after one that failed", within):
                await _start_one(session)
        async with kit.promptly("a start in another session, after one that failed", within):
            await kit.check_basics()

    @must("START-13")
    async def test_start_works_after_a_driver_has_died_during_its_own(self, kit: Kit) -> None:
        began = trio.current_time()
        await kit.check_basics()
        within = kit.timeout + _SLOWER * (trio.current_time() - began)
        async with kit.driver(2, deaths=_DEATHS) as process:
            limit = len(_DEATHS) * (kit.boot_timeout + kit.timeout)
            async with kit.promptly("the starts of drivers that are killed", limit):
                await process.died(len(_DEATHS))
            async with kit.promptly("a start after other drivers were killed", within):
                await kit.check_basics()

    @must("START-14")
    async def test_refusal_is_told_in_the_words_of_the_provider(self, kit: Kit) -> None:
        words = kit.config.refusal
        if not words:
            pytest.skip("the suite sets no `refusal`")
        system = kit.config.limited_capacity(0)
        if system is None:
            pytest.skip("the suite's `limited_capacity` returns no system")
        async with kit.session(system=system) as session:
            with pytest.raises(StartError) as refused:
                await session.start(1, services=SERVICES)
        assert words in str(refused.value), (
            f"the provider says {words!r}, but the error says: {refused.value}"
        )


async def _start_one(session: AsyncSession) -> None:
    machines = await session.start(1, services=SERVICES)
    assert await machines[0].call("Probe.echo", 1) == 1
    for machine in machines:
        await machine.shutdown()
