from __future__ import annotations

import trio

import bigmachine as bm
from bigmachine.system import Capability
from bigmachine.testing import InProcessSystem
from tests.support.clocks import jumping_clock
from tests.support.services import Echo


class Talking(InProcessSystem):
    """Has machines print as they are stopped, and then for ever."""

    name = "talking"
    capabilities = InProcessSystem.capabilities | {Capability.TAIL}

    def _begin(self) -> None:
        super()._begin()
        self.stopped = trio.Event()

    async def stop(self, instance):
        await super().stop(instance)
        self.stopped.set()

    async def tail(self, instance):
        await self.stopped.wait()
        await trio.sleep(1)  # on its way
        yield b"last words"
        await trio.sleep_forever()


def test_what_a_machine_prints_as_it_ends_is_waited_for_but_not_for_ever(capsys):
    async def test():
        async with bm.AsyncSession(Talking()) as session:
            await session.start(1, services={"Echo": Echo()})
            began = trio.current_time()
        assert trio.current_time() - began < 5

    trio.run(test, clock=jumping_clock())
    assert "m0: last words\n" in capsys.readouterr().err
