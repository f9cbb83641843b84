"""Sections KEEPALIVE, STOP, SHUTDOWN, ORPHAN and FOREIGN: how machines end."""

from __future__ import annotations

import functools
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bigmachine._values import State
from bigmachine.boot import LaunchRequest
from bigmachine.errors import MachineStopped
from bigmachine.machine._async import AsyncMachine
from bigmachine.system import Keepalive, Termination, hookimpl

from ...faults import Faults
from .._clauses import must, should
from .._driver_process import DriverProcess, DriverReport, process_at
from .._kit import Kit, answers
from .._shared import SERVICES
from .._wrappers import Recorder, Unstopped

if TYPE_CHECKING:
    from collections.abc import Generator

QUICK = Keepalive(period=0.2, timeout=1.5, rpc_timeout=0.5)
"""Timings under which a driver notices a silent machine within a test."""

_ENDS = ((7, r"\b7\b"), (-signal.SIGKILL, r"SIGKILL|(status|signal)\D+(137|9)\b|kill"))
"""Exit statuses, a negative one for a signal, and what the error must contain."""
_MIN_WATCH = 3.0  # on a busy computer a driver is late, and its machine must not end yet
_BOOTS_PER_WATCH = 20  # if a boot takes minutes, a machine is asked less often


class Ending:
    """Sections KEEPALIVE, STOP, SHUTDOWN, ORPHAN and FOREIGN of the contract."""

    @must("KEEPALIVE-1")
    async def test_silent_machine_is_diagnosed_and_stopped(self, kit: Kit) -> None:
        recorder, faults, quick = Recorder(), Faults(kinds=()), Quick()
        async with kit.session(quick, faults, recorder) as session:
            spare = await session.start(1, services=SERVICES)  # so that helpers exist
            for machine in spare:
                await machine.shutdown()
            before = kit.traces()
            quick.is_idle = False
            [machine, *_] = await session.start(1, services=SERVICES)
            recorder.diagnoses = 0
            faults.partition()
            async with kit.promptly("the end of a silent machine", QUICK.timeout + kit.timeout):
                await machine.wait(State.STOPPED)
            assert recorder.diagnoses, "keepalive_failed was never called"
            await kit.settled(before)
            faults.heal()

    @must("KEEPALIVE-2")
    async def test_machine_that_exits_is_stopped_promptly(self, kit: Kit) -> None:
        recorder = Recorder()
        async with kit.session(recorder) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.call("Supervisor.shutdown")
            async with kit.promptly("the machine is STOPPED"):
                await machine.wait(State.STOPPED)
            assert all(gone is None or isinstance(gone, Termination) for gone in recorder.gone)

    @must("KEEPALIVE-3")
    async def test_running_machine_is_not_reported_as_gone(self, kit: Kit) -> None:
        for machine in await kit.machines():
            session = await kit.shared_session()
            async with kit.promptly(
                "keepalive_failed", session._plugins.hooks.keepalive().rpc_timeout
            ):
                gone = await session._plugins.hooks.keepalive_failed(instance=machine.instance)
            assert gone is None, f"{machine.name} runs, but keepalive_failed returns: {gone}"

    @must("KEEPALIVE-4")
    async def test_keepalive_failed_accepts_a_machine_that_was_freed(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            async with kit.promptly("keepalive_failed"):
                gone = await session._plugins.hooks.keepalive_failed(instance=machine.instance)
            assert gone is None or isinstance(gone, Termination)

    @should("KEEPALIVE-5")
    async def test_error_says_how_the_process_of_a_machine_ended(self, kit: Kit) -> None:
        async with kit.session() as session:
            machines = await session.start(1, services=SERVICES)
            if await kit.is_in_process(machines[0]):
                pytest.skip("its machines are not processes of their own")
            machines += await session.start(1, services=SERVICES)
            for machine, (status, pattern) in zip(machines, _ENDS, strict=False):
                async with kit.promptly(f"the end of a machine whose status is {status}"):
                    with pytest.raises(MachineStopped) as stopped:
                        await machine.call("Probe.end", status)
                assert re.search(pattern, str(stopped.value)), (
                    f"its process ended with status {status}, but the error says: {stopped.value}"
                )

    # -- STOP ---------------------------------------------------------------------

    @must("STOP-1")
    async def test_stop_frees_only_the_given_machine(self, kit: Kit) -> None:
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
            await kit.check_alive(machines, f"`stop` of {stopped[0].name}")
            for process in processes:
                assert process is None or process.is_alive, f"{process} is gone as well"

    @must("STOP-2")
    async def test_stop_returns_when_the_machine_is_gone(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            process = await kit.process_of(machine)
            await session._plugins.hooks.stop(instance=machine.instance)
            # At once: `stop` must have waited.
            assert process is None or not process.is_alive, f"{process} still runs after stop"
            assert not await kit.answers(session, machine.instance), (
                f"{machine.name} still answers after stop"
            )

    @must("STOP-3")
    async def test_stop_accepts_stopped_and_unknown_instances(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            stop = session._plugins.hooks.stop
            unknown = replace(machine.instance, name="m999." + session.name, id="")
            async with kit.promptly("`stop`, twice at once"), trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(functools.partial(stop, instance=machine.instance))
            async with kit.promptly("`stop` of a machine that is gone, or never existed"):
                await stop(instance=machine.instance)
                await stop(instance=unknown)

    @must("STOP-4")
    async def test_hung_machine_can_be_stopped(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            process = await kit.process_of(machine)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_block, machine)
                await machine.call("Supervisor.ping")
                if process is not None:
                    process.freeze()
                async with kit.promptly("`stop` of a machine that hangs"):
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
                assert not await kit.answers(session, machine.instance), (
                    f"{machine.name} answers after shutdown"
                )
                assert process is None or not process.is_alive, (
                    f"{process} still runs after shutdown"
                )

    @must("SHUTDOWN-2")
    async def test_shutdown_leaves_nothing(self, kit: Kit) -> None:
        before = kit.traces() | kit.files()
        system = kit.system()
        async with kit.session(system=system) as session:
            await session.start(2, services=SERVICES)
        # At once: the driver may be a program that ends here.
        left = (kit.traces() | kit.files()) - before
        assert not left, f"still there after shutdown: {', '.join(sorted(left))}"

    @must("SHUTDOWN-3")
    async def test_shutdown_can_be_called_again_and_without_machines(self, kit: Kit) -> None:
        async with kit.promptly("shutdown"):
            await kit.system().shutdown()
            system = kit.system()
            await system.setup()
            await system.shutdown()
            await system.shutdown()

    # -- ORPHAN -------------------------------------------------------------------

    @must("ORPHAN-1")
    async def test_nothing_is_left_after_driver_is_killed(self, kit: Kit) -> None:
        before = kit.leftovers()
        async with kit.driver(2) as process:
            report = await process.running()
            process.kill()
            await _check_gone(kit, process, report, before)

    @must("ORPHAN-2")
    async def test_nothing_is_left_after_driver_is_killed_during_start(self, kit: Kit) -> None:
        before = kit.leftovers()
        async with kit.driver(3) as process:
            await process.named(2)
            process.kill()
            await _check_gone(kit, process, DriverReport(), before)

    @must("ORPHAN-3")
    async def test_machine_ends_itself_if_its_driver_is_silent(self, kit: Kit) -> None:
        seconds = max(_MIN_WATCH, kit.boot_timeout / _BOOTS_PER_WATCH)
        watch = Keepalive(period=seconds / 10, timeout=seconds, rpc_timeout=seconds / 6)
        async with kit.driver(1, keepalive=watch) as process:
            report = await process.running()
            if process.contains(report):
                pytest.skip("its machines are not processes of their own")
            machines = [found for place in report.places if (found := process_at(place))]
            process.freeze()  # its connections stay open: only the machine itself can notice

            def are_gone() -> bool:
                return not any(machine.is_alive for machine in machines)

            within = watch.timeout + kit.timeout
            await kit.eventually("the machine ends itself", are_gone, within)
            await _check_silent(kit, report, within)

    @should("ORPHAN-4")
    async def test_child_processes_are_gone_after_driver_is_killed(self, kit: Kit) -> None:
        before = kit.leftovers()
        async with kit.driver(1, has_children=True) as process:
            report = await process.running()
            process.kill()
            await _check_gone(kit, process, report, before)

    @should("ORPHAN-5")
    async def test_hung_machine_is_gone_after_driver_is_killed(self, kit: Kit) -> None:
        before = kit.leftovers()
        async with kit.driver(1) as process:
            report = await process.running()
            machines = [found for place in report.places if (found := process_at(place))]
            if process.contains(report) or not machines:
                pytest.skip("its machines are not processes of this computer")
            for machine in machines:
                machine.freeze()
            process.kill()
            await _check_gone(kit, process, report, before)

    # -- FOREIGN ------------------------------------------------------------------

    @must("FOREIGN-1")
    async def test_machines_of_another_session_keep_running(self, kit: Kit) -> None:
        # Not the shared machines: an earlier test may have harmed them already. Nor what an earlier
        # test has left to the reaper, which may free it only now.
        earlier = kit.leftovers()
        async with kit.session() as session:
            ours = await session.start(1, services=SERVICES)
            before = kit.leftovers() - earlier
            async with kit.session() as other:
                machines = await other.start(1, services=SERVICES)
                await other._plugins.hooks.stop(instance=machines[0].instance)
                await other._plugins.hooks.shutdown()
            await kit.check_alive(ours, "the end of another session")
            missing = before - kit.leftovers()
            assert not missing, f"gone with another session: {', '.join(sorted(missing))}"

    @must("FOREIGN-2")
    async def test_foreign_resources_are_never_touched(self, kit: Kit) -> None:
        with kit.config.foreign_resource() as lives:
            if lives is None:
                pytest.skip("the suite's `foreign_resource` creates nothing")
            async with kit.session() as session:
                await session.start(1, services=SERVICES)
                assert lives(), "a foreign resource was deleted while machines started"
            assert lives(), "a foreign resource was deleted with a session"


class Quick:
    """A wrapper under which a driver notices a silent machine in seconds, unless ``is_idle``.

    The machine keeps its own timings, so that it does not end itself first.
    """

    def __init__(self) -> None:
        self.is_idle = True
        self._has_started = False

    @hookimpl(wrapper=True)
    def start(self, request: LaunchRequest) -> Generator[None, Any, Any]:
        """Remember that the machine has got its timings."""
        self._has_started = not self.is_idle
        return (yield)

    @hookimpl(wrapper=True)
    def keepalive(self) -> Generator[None, Keepalive, Keepalive]:
        """Return `QUICK` after a start: only the driver's side of the new machine asks then."""
        usual = yield
        return QUICK if self._has_started else usual


async def _block(machine: AsyncMachine) -> None:
    try:
        await machine.call("Probe.block")
    except Exception:
        return


async def _check_gone(
    kit: Kit, process: DriverProcess, report: DriverReport, before: set[str]
) -> None:
    within = kit.orphan_timeout

    def left() -> set[str]:
        return {str(found) for found in process.left()} | (kit.leftovers() - before)

    try:
        await kit.eventually("nothing is left", lambda: not left(), within)
    except AssertionError:
        rest = ", ".join(sorted(left()))
        raise AssertionError(
            f"still there {within:g} s (orphan_timeout) after the driver was killed: {rest}"
        ) from None
    await _check_silent(kit, report, within)


async def _check_silent(kit: Kit, report: DriverReport, within: float) -> None:
    if report.identity is None:
        return
    async with kit.client(report.identity) as http:
        for instance in report.instances:

            async def is_silent(instance=instance) -> bool:  # type: ignore[no-untyped-def]
                return not await answers(http, instance)

            await kit.eventually(f"{instance.address} stops answering", is_silent, within)
