"""Machines go away: on silence, when told to, with their session, and with their driver."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bigmachine._values import State
from bigmachine.boot import LaunchRequest
from bigmachine.machine._async import AsyncMachine
from bigmachine.system import Keepalive, Termination, hookimpl

from ...faults import Faults
from .._clauses import must, should
from .._kit import Kit, answers
from .._orphans import Report, driver, process_at
from .._shared import SERVICES
from .._wrappers import Recorder, Unstopped

if TYPE_CHECKING:
    from collections.abc import Generator

    from .._orphans import Driver
    from .._suite import Suite

QUICK = Keepalive(period=0.2, timeout=1.5, rpc_timeout=0.5)
"""Timings under which a driver notices silence while a test waits."""

_LEAST_WATCH = 3.0  # for a busy computer: a machine whose driver is late ends itself
_BOOTS_PER_WATCH = 20  # the longer a boot may take, the more seldom drivers look for its end


class Ending:
    """Sections KEEPALIVE, STOP, SHUTDOWN, ORPHAN and FOREIGN of the contract."""

    @must("KEEPALIVE-1")
    async def test_a_silent_machine_is_asked_for_and_then_stopped(self, kit: Kit) -> None:
        recorder, faults, quick = Recorder(), Faults(kinds=()), Quick()
        async with kit.session(quick, faults, recorder) as session:
            spare = await session.start(
                1, services=SERVICES
            )  # so that what helpers there are exist
            for machine in spare:
                await machine.shutdown()
            before = kit.traces()
            quick.is_idle = False
            [machine, *_] = await session.start(1, services=SERVICES)
            recorder.questions = 0
            faults.partition()
            async with kit.promptly("the end of a silent machine", QUICK.timeout + kit.timeout):
                await machine.wait(State.STOPPED)
            assert recorder.questions, "keepalive_failed was never asked"
            await kit.settled(before)
            faults.heal()

    @must("KEEPALIVE-2")
    async def test_a_machine_that_ended_by_itself_is_stopped_soon(self, kit: Kit) -> None:
        recorder = Recorder()
        async with kit.session(recorder) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.call("Supervisor.shutdown")
            async with kit.promptly("the machine is seen to have ended"):
                await machine.wait(State.STOPPED)
            assert all(gone is None or isinstance(gone, Termination) for gone in recorder.gone)

    @must("KEEPALIVE-3")
    async def test_a_machine_that_runs_is_not_said_to_be_gone(self, kit: Kit) -> None:
        for machine in await kit.machines():
            session = await kit.shared_session()
            async with kit.promptly(
                "keepalive_failed", session._plugins.hooks.keepalive().rpc_timeout
            ):
                gone = await session._plugins.hooks.keepalive_failed(instance=machine.instance)
            assert gone is None, f"{machine.name} runs, and keepalive_failed says: {gone}"

    @must("KEEPALIVE-4")
    async def test_asking_for_a_machine_that_was_freed_is_no_error(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            async with kit.promptly("keepalive_failed"):
                gone = await session._plugins.hooks.keepalive_failed(instance=machine.instance)
            assert gone is None or isinstance(gone, Termination)

    # -- STOP ---------------------------------------------------------------------

    @must("STOP-1")
    async def test_stop_frees_one_machine_and_only_that(self, kit: Kit) -> None:
        unstopped = Unstopped()
        async with kit.session(unstopped) as session, unstopped:
            machines = await session.start(1, services=SERVICES)
            before = kit.traces()
            stopped = await session.start(1, services=SERVICES)
            made = kit.traces() - before
            machines += await session.start(1, services=SERVICES)
            processes = [await kit.process_of(machine) for machine in machines]
            for machine in stopped:
                async with kit.promptly("stop"):
                    await session._plugins.hooks.stop(instance=machine.instance)
            for machine in stopped:
                await kit.is_silent(session, machine.instance)
            await kit.settled(kit.traces() - made)
            for machine in machines:
                async with kit.promptly(f"an answer of {machine.name}, which wasn't stopped"):
                    assert await machine.call("Probe.echo", 1) == 1
            for process in processes:
                assert process is None or process.is_alive, f"{process} is gone, too"

    @must("STOP-2")
    async def test_stop_returns_when_the_machine_is_gone(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            process = await kit.process_of(machine)
            await session._plugins.hooks.stop(instance=machine.instance)
            # At once: what is asked is that it has waited.
            assert process is None or not process.is_alive, f"{process} runs after stop"
            assert not await kit.answers(session, machine.instance), "it answers after stop"

    @must("STOP-3")
    async def test_stop_twice_is_fine_and_so_is_an_instance_that_never_was(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            stop = session._plugins.hooks.stop
            unknown = replace(machine.instance, name="m999." + session.name, id="")
            async with kit.promptly("stop, three times"):
                await stop(instance=machine.instance)
                await stop(instance=machine.instance)
                await stop(instance=unknown)

    @must("STOP-4")
    async def test_a_machine_that_hangs_is_stopped_like_any_other(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            process = await kit.process_of(machine)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ignore_end, machine)
                await machine.call("Supervisor.ping")
                if process is not None:
                    process.freeze()
                async with kit.promptly("stop of a machine that hangs"):
                    await session._plugins.hooks.stop(instance=machine.instance)
                nursery.cancel_scope.cancel()
            await kit.is_silent(session, machine.instance)
            if process is not None:
                await kit.eventually(f"{process} is gone", lambda: not process.is_alive)

    # -- SHUTDOWN -----------------------------------------------------------------

    @must("SHUTDOWN-1")
    async def test_shutdown_frees_all_machines(self, kit: Kit) -> None:
        unstopped = Unstopped()
        async with kit.session(unstopped) as session, unstopped:
            machines = await session.start(2, services=SERVICES)
            processes = [await kit.process_of(machine) for machine in machines]
            async with kit.promptly("shutdown"):
                await session._plugins.hooks.shutdown()
            for machine, process in zip(machines, processes, strict=True):
                assert not await kit.answers(session, machine.instance), "it answers after shutdown"
                assert process is None or not process.is_alive, f"{process} runs after shutdown"

    @must("SHUTDOWN-2")
    async def test_shutdown_leaves_nothing(self, kit: Kit) -> None:
        before = kit.traces()
        system = kit.system()
        async with kit.session(system=system) as session:
            await session.start(2, services=SERVICES)
        # No patience: a driver may be a program that ends here.
        left = kit.traces() - before
        assert not left, f"left after shutdown: {', '.join(sorted(left))}"

    @must("SHUTDOWN-3")
    async def test_shutdown_is_fine_twice_and_with_nothing_to_shut_down(self, kit: Kit) -> None:
        async with kit.promptly("shutdown"):
            await kit.system().shutdown()
            system = kit.system()
            await system.setup()
            await system.shutdown()
            await system.shutdown()

    # -- ORPHAN -------------------------------------------------------------------

    @must("ORPHAN-1")
    async def test_nothing_is_left_of_a_driver_that_was_killed(self, kit: Kit) -> None:
        before = kit.leftovers()
        async with driver(kit, kit.order(2)) as process:
            report = await process.running()
            process.kill()
            await _check_gone(kit, process, report, before)

    @must("ORPHAN-2")
    async def test_nothing_is_left_of_a_driver_that_was_killed_while_starting(
        self, kit: Kit
    ) -> None:
        before = kit.leftovers()
        async with driver(kit, kit.order(3)) as process:
            await process.named(2)
            process.kill()
            await _check_gone(kit, process, Report(), before)

    @must("ORPHAN-3")
    async def test_a_machine_that_nobody_asks_for_ends_itself(self, kit: Kit) -> None:
        if await kit.is_in_process((await kit.machines())[0]):
            pytest.skip("its machines are no processes of their own")
        seconds = max(_LEAST_WATCH, kit.boot_timeout / _BOOTS_PER_WATCH)
        watch = Keepalive(period=seconds / 10, timeout=seconds, rpc_timeout=seconds / 6)
        async with driver(kit, kit.order(1, keepalive=watch)) as process:
            report = await process.running()
            machines = [found for place in report.places if (found := process_at(place))]
            process.freeze()  # its lifelines stay open: only the machine's own watch is left

            def are_gone() -> bool:
                return not any(machine.is_alive for machine in machines)

            within = watch.timeout + kit.timeout
            await kit.eventually("the machine has ended itself", are_gone, within)
            await _check_silent(kit, report, within)

    @should("ORPHAN-4")
    async def test_nor_is_what_its_machines_had_started(self, kit: Kit) -> None:
        before = kit.leftovers()
        async with driver(kit, kit.order(1, has_children=True)) as process:
            report = await process.running()
            process.kill()
            await _check_gone(kit, process, report, before)

    @should("ORPHAN-5")
    async def test_nor_is_a_machine_that_hangs(self, kit: Kit) -> None:
        if await kit.process_of((await kit.machines())[0]) is None:
            pytest.skip("its machines are no processes of this computer")
        before = kit.leftovers()
        async with driver(kit, kit.order(1)) as process:
            report = await process.running()
            machines = [found for place in report.places if (found := process_at(place))]
            for machine in machines:
                machine.freeze()
            process.kill()
            await _check_gone(kit, process, report, before)

    # -- FOREIGN ------------------------------------------------------------------

    @must("FOREIGN-1")
    async def test_another_sessions_machines_live_on(self, kit: Kit) -> None:
        ours = await kit.machines()
        async with kit.session() as other:
            machines = await other.start(1, services=SERVICES)
            await other._plugins.hooks.stop(instance=machines[0].instance)
            await other._plugins.hooks.shutdown()
        for machine in ours:
            async with kit.promptly(f"an answer of {machine.name}, of another session"):
                assert await machine.call("Probe.echo", 1) == 1
            assert machine.state is State.RUNNING

    @must("FOREIGN-2")
    async def test_what_is_not_ours_is_never_touched(self, kit: Kit) -> None:
        suite: Suite = kit.suite
        with suite.foreign_resource() as lives:
            if lives is None:
                pytest.skip("the suite makes nothing `foreign_resource`")
            async with kit.session() as session:
                await session.start(1, services=SERVICES)
                assert lives(), "what isn't ours went while machines started"
            assert lives(), "what isn't ours went with a session"


class Quick:
    """A wrapper under which a driver, unless it ``is_idle``, notices silence in seconds.

    The machine's own watch stays as it is, so that it isn't what ends the machine.
    """

    def __init__(self) -> None:
        self.is_idle = True
        self._has_started = False

    @hookimpl(wrapper=True)
    def start(self, request: LaunchRequest) -> Generator[None, Any, Any]:
        """Take note: by now the machine has been given its timings."""
        self._has_started = not self.is_idle
        return (yield)

    @hookimpl(wrapper=True)
    def keepalive(self) -> Generator[None, Keepalive, Keepalive]:
        """Give `QUICK` to who asks after a start: the driver's side of the new machine."""
        usual = yield
        return QUICK if self._has_started else usual


async def _ignore_end(machine: AsyncMachine) -> None:
    try:
        await machine.call("Probe.block")
    except Exception:
        return


async def _check_gone(kit: Kit, process: Driver, report: Report, before: set[str]) -> None:
    within = kit.orphan_timeout

    def left() -> set[str]:
        return {str(found) for found in process.left()} | (kit.leftovers() - before)

    try:
        await kit.eventually("nothing is left", lambda: not left(), within)
    except AssertionError:
        rest = ", ".join(sorted(left()))
        raise AssertionError(
            f"left {within:g} s (orphan_timeout) after the driver was killed: {rest}"
        ) from None
    await _check_silent(kit, report, within)


async def _check_silent(kit: Kit, report: Report, within: float) -> None:
    if report.identity is None:
        return
    async with kit.client(report.identity) as http:
        for instance in report.instances:

            async def is_silent(instance=instance) -> bool:  # type: ignore[no-untyped-def]
                return not await answers(http, instance)

            await kit.eventually(f"{instance.address} answers no more", is_silent, within)
