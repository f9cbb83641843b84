"""A system is told of machines that are silent: perhaps the driver's address has changed."""

from __future__ import annotations

import trio

import bigmachine as bm
from bigmachine.debug._text import status_text
from bigmachine.session._silence import Silence
from tests.support.services import Echo

SERVICES = {"Echo": Echo()}


class Restorer:
    """Notes when the system is asked to restore access, and for which machines."""

    def __init__(self, kit) -> None:
        self.times: list[float] = []
        self.silent: list[set[str]] = []
        self.then = lambda: None
        kit.system.reports_ended_machines = False
        kit.system.restore_access = self

    async def __call__(self, instances):
        self.times.append(trio.current_time())
        self.silent.append({instance.name.partition(".")[0] for instance in instances})
        self.then()


def test_silent_machines_are_kept_if_the_system_restores_access(run):
    async def test(kit):
        restorer = Restorer(kit)
        async with kit.session() as session:
            machines = await session.start(3, services=SERVICES)

            def heal():
                if len(restorer.times) == 2:
                    for machine in machines[:2]:
                        kit.system.heal(machine)

            restorer.then = heal
            for machine in machines[:2]:
                kit.system.partition(machine)
            await trio.sleep(3 * kit.timings.timeout)
            assert [machine.state for machine in machines] == [bm.State.RUNNING] * 3
            assert restorer.silent[1] == {"m0", "m1"}
            assert len(restorer.times) <= 4  # no more once they answer

    run(test)


def test_silent_machine_stands_out_until_it_replies(run):
    async def test(kit):
        async with kit.session() as session:
            machines = await session.start(2, services=SERVICES)

            def silent():
                text = status_text(session._board.status())
                assert text.count("SILENT") == sum(machine.is_silent for machine in machines)
                return [machine.name for machine in machines if machine.is_silent]

            assert silent() == []
            kit.system.partition(machines[1])
            await trio.sleep(kit.timings.timeout * 0.9)
            assert silent() == ["m1"]
            kit.system.heal(machines[1])
            await trio.sleep(kit.timings.timeout * 2)
            assert silent() == []

    run(test)


def test_access_is_restored_at_growing_intervals_while_a_machine_is_silent(run):
    async def test(kit):
        restorer = Restorer(kit)
        silence = Silence(restorer)
        machine = bm.Instance("m0.a-0123abcd.bigmachine", "")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(silence.watch)
            for _ in range(2):
                restorer.times.clear()
                began = trio.current_time()
                await trio.sleep(60)
                assert restorer.times == []
                silence.set(machine, True)
                silence.set(machine, True)
                await trio.sleep(6 * kit.timings.timeout)
                silence.set(machine, False)
                await trio.sleep(kit.timings.timeout)
                early = [time for time in restorer.times if time <= began + 60 + 50]
                assert len(early) >= 3  # while a machine waits that was asked a minute before
                assert 10 <= len(restorer.times) <= 25
            nursery.cancel_scope.cancel()

    run(test)


def test_failed_restoration_is_logged_and_repeated(run, caplog):
    async def test(kit):
        restorer = Restorer(kit)
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)

            def fail_once():
                if len(restorer.times) == 1:
                    raise RuntimeError("the first one fails")
                kit.system.heal(machine)

            restorer.then = fail_once
            kit.system.partition(machine)
            await trio.sleep(3 * kit.timings.timeout)
            assert machine.state == bm.State.RUNNING
        assert "the way to them could not be restored" in caplog.text

    run(test)
