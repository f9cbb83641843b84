"""Sections START and MACHINE: what `start` returns, and what the machines are like."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from bigmachine._values import State
from bigmachine.errors import StartError
from bigmachine.machine._async import AsyncMachine
from bigmachine.rpc import split_addr
from bigmachine.system import Instance

from .._census import check_exactly
from .._clauses import may, must, should
from .._kit import Kit
from .._loop import Moment, Stopwatch, after_steps, cancelled
from .._processes import marked
from .._shared import SERVICES
from .._wrappers import BootBreaker, Recorder

if TYPE_CHECKING:
    from bigmachine.session._async import AsyncSession

_MAX_BLOCKED_SECONDS = 1.0  # how long a hook may block the loop
_FEW, _MANY = 3, 11  # with more than ten, names and lists have their own faults
_CANCELLED = 2  # machines of a cancelled start: one may exist when the other does not
_CANCEL_AFTER = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)  # steps of the loop
_LONG_SECONDS = 0.5  # a longer start takes more steps than these
_CANCEL_AT = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the time that a start takes


_LONG = "x" * 150_000  # more than Linux takes as one argument of a program, or one variable
_ENVIRON = {
    "CONFORMANCE_VALUE": "ä = 'b' $c \"d\"\nnext line\r",
    "CONFORMANCE_BYTES": "\udcff\udc80",
    "CONFORMANCE_EMPTY": "",
    "CONFORMANCE_LONG": _LONG,
    # These have values already, of the driver or of a backend: the user's count.
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "3",
    "PYTHONUNBUFFERED": "0",
    "PATH": "/conformance:/usr/bin:/bin",
}
_ARGV = ["program", "--listen", "127.0.0.1:1", "-h", "two words", "", "ä\udcff\n", "--", _LONG]
_MAXPROCS = 2
_SHOWN = 200  # characters of a value, in a message


class Starting:
    """Sections START and MACHINE of the contract."""

    @must("START-1")
    async def test_machine_starts_runs_and_answers(self, kit: Kit) -> None:
        await kit.check_basics()

    @must("START-2")
    async def test_start_returns_instances_with_the_names_it_was_given(self, kit: Kit) -> None:
        recorder = Recorder()
        async with kit.session(recorder) as session:
            await session.start(3, services=SERVICES, wait=False)
            [instances] = recorder.returned
            assert all(isinstance(instance, Instance) for instance in instances), instances
            assert 1 <= len(instances) <= 3, f"asked for 3 machines, got {len(instances)}"
            names = [instance.name for instance in instances]
            assert len(set(names)) == len(names), f"names are not unique: {names}"
            assert set(names) <= set(recorder.named), (
                f"{set(names) - set(recorder.named)}: not the name of a MachineSpec of this start"
            )
            assert pickle.loads(pickle.dumps(list(instances))) == list(instances)
            for instance in instances:
                cost = instance.cost_per_hour
                assert cost is None or cost >= 0, f"cost_per_hour is {cost}"
            for machine in session.machines:
                await machine.wait(State.RUNNING)
            await check_exactly(kit, session, session.machines)

    @must("START-3")
    async def test_each_machine_has_its_own_address(self, kit: Kit) -> None:
        recorder = Recorder()
        async with kit.session(recorder) as session:
            for _ in range(2):
                await session.start(2, services=SERVICES, wait=False)
            addresses = [instance.address for given in recorder.returned for instance in given]
            assert len(set(addresses)) == len(addresses), f"addresses are not unique: {addresses}"
            for given in recorder.returned:
                for instance in given:
                    host_and_port, name = split_addr(instance.addr)
                    assert (host_and_port, name) == (instance.address, instance.name)
                    assert host_and_port.rpartition(":")[2].isdigit(), (
                        f"{instance.address!r} is not HOST:PORT"
                    )

    @must("START-4")
    async def test_concurrent_starts_do_not_disturb_each_other(self, kit: Kit) -> None:
        started: list[AsyncMachine] = []

        async with kit.session() as session:

            async def start() -> None:
                started.extend(await session.start(2, services=SERVICES))

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(start)
            assert len(started) >= 3
            await _check_each_is_itself(started)

    @must("START-5")
    async def test_all_started_machines_run(self, kit: Kit) -> None:
        async with kit.session() as session:
            count = _FEW if kit.is_billed else _MANY
            machines = await session.start(count, services=SERVICES, wait=False)
            async with kit.promptly("machines are RUNNING", kit.boot_timeout + kit.timeout):
                for machine in machines:
                    await machine.wait(State.RUNNING)
            failed = [str(machine.error) for machine in machines if machine.error]
            assert not failed, "\n".join(failed)
            await _check_each_is_itself(machines)

    @may("START-6")
    async def test_fewer_machines_are_accepted_and_none_is_an_error(self, kit: Kit) -> None:
        system = kit.config.limited_capacity(2)
        if system is None:
            pytest.skip("the suite's `limited_capacity` returns no system")
        async with kit.session(system=system) as session:
            machines, made = await _made_by(kit, session, 4)
            assert len(machines) == 2, f"{len(machines)} machines, but the capacity is 2"
            await _check_each_is_itself(machines)
            await check_exactly(kit, session, machines)
            before = kit.traces()
            for _ in range(2):  # the second one finds what the first one may have left
                async with kit.promptly("the error of a start without capacity"):
                    with pytest.raises(StartError):
                        await session.start(1, services=SERVICES)
            await kit.settled(before)
            await _check_each_is_itself(machines)
        await _check_as_usual(kit, 2, made)

    @must("START-7")
    async def test_cancelled_start_leaves_nothing(self, kit: Kit) -> None:
        async with kit.session() as session:
            # So that helpers exist, and to measure how long a start takes.
            began = trio.current_time()
            machines = await session.start(_CANCELLED, services=SERVICES, wait=False)
            seconds = trio.current_time() - began
            for machine in machines:
                await machine.wait(State.RUNNING)
            before = kit.traces()
            for moment in _moments(seconds):
                is_cut_off = await cancel_start(kit, session, moment)
                # At once: what was not recorded in time may end by itself, but a VM would not.
                lost = kit.processes() - before
                assert not lost, (
                    "the start is cancelled; neither recorded nor killed is what it launched: "
                    f"{', '.join(sorted(lost))}"
                )
                if not is_cut_off:
                    break  # the start was done before
                await kit.settled(before)
            for machine in machines:
                assert await machine.call("Probe.echo", "here") == "here"

    @must("START-8")
    async def test_lost_response_does_not_create_a_second_machine(self, kit: Kit) -> None:
        system = kit.config.lost_response()
        if system is None:
            pytest.skip("the suite's `lost_response` returns no system")
        async with kit.session(system=system) as session:
            machines, made = await _made_by(kit, session, 1)
            await _check_each_is_itself(machines)
            await check_exactly(kit, session, machines)
        await _check_as_usual(kit, 1, made)

    @must("START-9")
    async def test_start_does_not_block_the_event_loop(self, kit: Kit) -> None:
        with Stopwatch() as stopwatch:
            async with kit.session() as session:
                machines = await session.start(2, services=SERVICES)
                for machine in machines:
                    await machine.shutdown()
        assert stopwatch.longest <= _MAX_BLOCKED_SECONDS, (
            f"a hook blocked trio's loop for {stopwatch.longest:.1f} s (at most "
            f"{_MAX_BLOCKED_SECONDS:g} s are allowed): use await, or trio.to_thread.run_sync"
        )

    @must("START-11")
    async def test_failed_boot_is_an_error_and_its_machine_is_freed(self, kit: Kit) -> None:
        system, breaker = kit.system(), BootBreaker()
        async with kit.session(breaker, system=system) as session:
            breaker.is_idle = True
            machines = await session.start(1, services=SERVICES)  # so that helpers exist
            breaker.is_idle = False
            before = kit.traces()
            # The class's own may be minutes.
            system.boot_timeout = kit.timeout
            async with kit.promptly("the error of a failed boot", 2 * kit.timeout):
                with pytest.raises(StartError, match="boot"):
                    await session.start(1, services=SERVICES)
            assert session.machines == machines, f"the machines are {session.machines}"
            await kit.settled(before)

    # -- MACHINE ------------------------------------------------------------------

    @must("MACHINE-1")
    async def test_maxprocs_matches_the_machine(self, kit: Kit) -> None:
        promised = kit.system().maxprocs()
        for machine in await kit.machines():
            seen = await machine.call("Probe.processors")
            assert 1 <= machine.maxprocs <= seen, (
                f"maxprocs is {machine.maxprocs}, but the machine has {seen} processors"
            )
            assert promised in (None, machine.maxprocs), (
                f"maxprocs() says {promised}, but a machine has {machine.maxprocs}"
            )
        if "maxprocs" in kit.options.__dataclass_fields__ and not kit.is_billed:
            wanted = min(seen, _MAXPROCS)
            system = kit.system_class(replace(kit.options, maxprocs=wanted))
            async with kit.session(system=system) as session:
                [machine, *_] = await session.start(1, services=SERVICES)
                assert machine.maxprocs == wanted, (
                    f"the option maxprocs is {wanted}, but a machine has {machine.maxprocs}"
                )

    @must("MACHINE-2")
    async def test_requested_environment_reaches_the_machine(self, kit: Kit) -> None:
        async with _environ_kept(), kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES, environ=_ENVIRON)
            for name, value in _ENVIRON.items():
                found = await machine.call("Probe.environ", name)
                is_same = found == value  # not within the assert: see READ-1
                assert is_same, f"{name} is {_short(found)}, not {_short(value)}"

    @must("MACHINE-3")
    async def test_requested_arguments_reach_the_machine(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES, argv=_ARGV)
            found = await machine.call("Probe.argv")
            is_same = found == _ARGV
            assert is_same, f"sys.argv is {_short(found)}, not {_short(_ARGV)}"

    @must("MACHINE-4")
    async def test_machine_ends_when_it_is_told_to(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            process = await kit.process_of(machine)
            await machine.call("Supervisor.shutdown")
            await kit.eventually(
                "the machine's address stops answering",
                lambda: _is_silent(kit, session, machine),
            )
            if process is not None:
                await kit.eventually(f"{process} is gone", lambda: not process.is_alive)

    @should("MACHINE-5")
    async def test_child_processes_end_with_their_machine(self, kit: Kit) -> None:
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            before = set(marked(kit.mark))
            await machine.call("Probe.start_child")
            children = set(marked(kit.mark)) - before
            if not children:
                pytest.skip("its machines are not processes of this computer")
            await machine.shutdown()
            await kit.eventually(
                f"{', '.join(map(str, children))} is gone",
                lambda: not any(child.is_alive for child in children),
            )


async def _check_each_is_itself(machines: Sequence[AsyncMachine]) -> None:
    for machine in machines:
        info = await machine.call("Supervisor.info")
        assert info.name == machine.instance.name


def _moments(seconds: float) -> Iterator[Moment | None]:
    """Yield the moments at which a start that takes ``seconds`` is cancelled."""
    for steps in _CANCEL_AFTER:
        yield after_steps(steps)
    if seconds >= _LONG_SECONDS:
        for share in _CANCEL_AT:
            yield functools.partial(trio.sleep, share * seconds)


async def cancel_start(kit: Kit, session: AsyncSession, moment: Moment | None) -> bool:
    """Start machines and cancel the start; return False if it was done before."""
    machines: list[AsyncMachine] = []

    async def start() -> None:
        machines.extend(await session.start(_CANCELLED, services=SERVICES, wait=False))

    async with kit.promptly("the end of a start that was cancelled", 2 * kit.timeout):
        is_cut_off = await cancelled(start, moment)
    for machine in machines:
        await machine.shutdown()
    return is_cut_off


async def _made_by(
    kit: Kit, session: AsyncSession, count: int
) -> tuple[list[AsyncMachine], set[str]]:
    """Start machines; return them and the traces that they have created."""
    before = kit.traces()
    machines = await session.start(count, services=SERVICES)
    return machines, kit.traces() - before


async def _check_as_usual(kit: Kit, count: int, made: set[str]) -> None:
    """Fail if ``made`` are more traces than the system under test makes for ``count`` machines."""
    # A machine may consist of several resources, and need helpers.
    async with kit.session() as session:
        _, usual = await _made_by(kit, session, count)
    assert len(made) <= len(usual), (
        f"{count} of its machines are {_list(usual)}, but created were {_list(made)}"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _list(traces: set[str]) -> str:
    return ", ".join(sorted(traces)) or "nothing"


async def _is_silent(kit: Kit, session: AsyncSession, machine: AsyncMachine) -> bool:
    return not await kit.answers(session, machine.instance)


@contextlib.asynccontextmanager
async def _environ_kept() -> AsyncIterator[None]:
    """Restore this process's variables: a machine in it, if it is left running, would keep its own.

    No later clause could start a process then.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        if dict(os.environ) != before:
            os.environ.clear()
            os.environ.update(before)
