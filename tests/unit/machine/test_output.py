"""The output of a machine reaches the driver."""

from __future__ import annotations

import trio

import bigmachine as bm
from bigmachine.system import Capability
from bigmachine.testing import InProcessSystem
from tests.support.clocks import jumping_clock
from tests.support.services import Echo
from tests.support.waiting import until


class PrintsAtStop(InProcessSystem):
    """Its machines print a line after they are stopped; their output never ends."""

    name = "prints-at-stop"
    capabilities = InProcessSystem.capabilities | {Capability.TAIL}

    def _begin(self) -> None:
        super()._begin()
        self.stopped = trio.Event()

    async def stop(self, instance):
        await super().stop(instance)
        self.stopped.set()

    async def tail(self, instance):
        await self.stopped.wait()
        await trio.sleep(1)  # the line takes a second to arrive
        yield b"last output"
        await trio.sleep_forever()


def test_session_waits_a_bounded_time_for_last_output_of_machine(capsys):
    async def test():
        async with bm.AsyncSession(PrintsAtStop()) as session:
            await session.start(1, services={"Echo": Echo()})
            began = trio.current_time()
        assert trio.current_time() - began < 5

    trio.run(test, clock=jumping_clock())
    shown = ""

    def is_shown():
        nonlocal shown
        shown += capsys.readouterr().err
        return "m0: last output\n" in shown

    until(is_shown)  # a thread writes it, for which the clock does not wait
