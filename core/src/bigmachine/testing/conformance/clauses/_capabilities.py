"""Sections TAIL, READ, CONSOLE and INSTANCES: what a backend can declare to be able to do."""

from __future__ import annotations

import datetime
import functools
import os

import pytest

from bigmachine.boot import Driver
from bigmachine.errors import BootError, StartError
from bigmachine.system import Capability

from .._clauses import must, should
from .._kit import Kit
from .._probe import BOOT_FAILS
from .._shared import SERVICES
from .._wrappers import BootBreaker, LogRecorder

_LINES = 1000
_LONG_LINE_BYTES = 3 << 20


class Capabilities:
    """Sections TAIL, READ, CONSOLE and INSTANCES of the contract."""

    @must("TAIL-1", needs=Capability.TAIL)
    async def test_tail_returns_every_line_in_order(self, kit: Kit) -> None:
        log = LogRecorder()
        async with kit.session(log) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            lines = log.of(machine)
            for to_stderr in (False, True):
                await machine.call("Probe.print_lines", 0, _LINES, to_stderr=to_stderr)
                wanted = [f"line {number}".encode() for number in range(_LINES)]
                await kit.eventually("all lines have come", functools.partial(_has_last, lines))
                assert [line for line in lines if line.startswith(b"line ")] == wanted
                lines.clear()

    @must("TAIL-2", needs=Capability.TAIL)
    async def test_tail_ends_with_the_machine(self, kit: Kit) -> None:
        log = LogRecorder()
        async with kit.session(log) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.shutdown()  # the session waits a moment for the end of the tail
            assert machine.instance.name in log.ended, (
                "the machine is gone, but its tail has not ended"
            )
            async with kit.promptly("the tail of a machine that is gone"):
                async for _ in session._plugins.hooks.tail(instance=machine.instance):
                    pass

    @should("TAIL-3", needs=Capability.TAIL)
    async def test_tail_returns_the_last_lines_of_a_machine(self, kit: Kit) -> None:
        log = LogRecorder()
        async with kit.session(log) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.call("Probe.print_lines", 0, 10)
            await machine.shutdown()
            assert b"line 9" in log.of(machine)

    @must("TAIL-4", needs=Capability.TAIL)
    async def test_tail_accepts_any_output(self, kit: Kit) -> None:
        log = LogRecorder()
        async with kit.session(log) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            for raw in (b"\xff\xfe\0\r no text\n", b"\n\n", b"x" * _LONG_LINE_BYTES + b"\n"):
                async with kit.promptly("printing"):
                    await machine.call("Probe.print_raw", raw)
            await machine.call("Probe.print_lines", 7, 1)
            await kit.eventually("a line after all that", lambda: b"line 7" in log.of(machine))
            long = sum(line.count(b"x") for line in log.of(machine) if line.startswith(b"xx"))
            assert long == _LONG_LINE_BYTES

    @must("TAIL-5", needs=Capability.TAIL)
    async def test_tail_shows_why_a_boot_failed(self, kit: Kit) -> None:
        assert BOOT_FAILS in await _failed_boot(kit)

    @must("READ-1", needs=Capability.READ)
    async def test_read_returns_the_bytes_of_a_file(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        for data in (b"", os.urandom(3_000_000)):
            path = await machine.call("Probe.write_file", data)
            try:
                assert await machine.read(path) == data
            finally:
                await machine.call("Probe.remove_file", path)

    @must("READ-2", needs=Capability.READ)
    async def test_read_of_a_missing_file_raises_file_not_found(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        path = await machine.call("Probe.write_file", b"")
        await machine.call("Probe.remove_file", path)
        with pytest.raises(FileNotFoundError):
            await machine.read(path)

    @must("CONSOLE-1", needs=Capability.CONSOLE)
    async def test_console_shows_why_a_boot_failed(self, kit: Kit) -> None:
        assert BOOT_FAILS in await _failed_boot(kit)

    @must("CONSOLE-2", needs=Capability.CONSOLE)
    async def test_console_of_a_running_machine_is_text(self, kit: Kit) -> None:
        session = await kit.shared_session()
        for machine in await kit.machines():
            async with kit.promptly("console"):
                text = await session._plugins.hooks.console(instance=machine.instance)
            assert isinstance(text, str)

    @must("INSTANCES-1", needs=Capability.INSTANCES)
    async def test_instances_lists_running_machines(self, kit: Kit) -> None:
        session = await kit.shared_session()
        listed = {i.name: i for i in await session._plugins.hooks.instances()}
        for machine in await kit.machines():
            assert machine.instance.name in listed, f"{machine.instance.name} is not listed"
            assert listed[machine.instance.name].id == machine.instance.id

    @must("INSTANCES-2", needs=Capability.INSTANCES)
    async def test_instances_lists_machines_of_other_sessions(self, kit: Kit) -> None:
        machines = await kit.machines()
        async with kit.unopened() as hooks:
            names = {instance.name for instance in await hooks.instances()}
        assert {machine.instance.name for machine in machines} <= names

    @must("INSTANCES-3", needs=Capability.INSTANCES)
    async def test_instances_omits_stopped_machines(self, kit: Kit) -> None:
        async with kit.session() as session:
            machines = await session.start(2, services=SERVICES)
            await machines[0].shutdown()
            hooks = session._plugins.hooks

            async def is_unlisted() -> bool:
                names = {i.name for i in await hooks.instances()}
                return machines[0].instance.name not in names

            # Providers list a deleted machine for a moment longer.
            await kit.eventually("a stopped machine is not listed", is_unlisted)

    @must("INSTANCES-4", needs=Capability.INSTANCES)
    async def test_listed_instances_can_be_stopped_by_any_driver(self, kit: Kit) -> None:
        async with kit.session() as session, kit.unopened() as visitor:
            machines = await session.start(2, services=SERVICES)
            process = await kit.process_of(machines[0])
            [found] = [i for i in await visitor.instances() if i.name == machines[0].instance.name]
            async with kit.promptly("stop of another session's instance"):
                await visitor.stop(instance=found)
            await kit.is_silent(session, machines[0].instance)
            if process is not None:
                await kit.eventually(f"{process} is gone", lambda: not process.is_alive)
            for machine in machines[1:]:
                assert await machine.call("Probe.echo", 1) == 1

    @must("INSTANCES-5", needs=Capability.INSTANCES)
    async def test_instances_omits_foreign_resources(self, kit: Kit) -> None:
        async with kit.visitor() as hooks:
            before = {i.id for i in await hooks.instances()}
            with kit.config.foreign_resource() as lives:
                if lives is None:
                    pytest.skip("the suite's `foreign_resource` creates nothing")
                listed = {i.id for i in await hooks.instances()}
        assert listed <= before, f"listed, but not created by bigmachine: {listed - before}"

    @should("INSTANCES-6", needs=Capability.INSTANCES)
    async def test_listed_instances_have_the_documented_details(self, kit: Kit) -> None:
        machines = {machine.instance.name for machine in await kit.machines()}
        session = await kit.shared_session()  # after `machines`, which may open a new one
        listed = [i for i in await session._plugins.hooks.instances() if i.name in machines]
        here = Driver.here()
        assert listed, "none of the machines is listed"
        for details in (instance.details for instance in listed):
            assert all(isinstance(value, str) for value in details.values()), details
            assert details.get("kind", "instance") == "instance"
            assert details.get("session") == session.name
            assert details.get("driver") == str(here), "must be str(request.driver)"
            assert details.get("host") == here.host
            began = datetime.datetime.fromisoformat(details.get("started", ""))
            assert began.utcoffset() == datetime.timedelta(0), "must be in UTC"


def _has_last(lines: list[bytes]) -> bool:
    return f"line {_LINES - 1}".encode() in lines


async def _failed_boot(kit: Kit) -> str:
    """Return the console that the error of a failed boot shows."""
    system = kit.system()
    system.boot_timeout = kit.timeout  # the class's own may be minutes
    async with kit.session(BootBreaker(), system=system) as session:
        with pytest.raises(StartError) as failed:
            await session.start(1, services=SERVICES)
    cause = failed.value.__cause__
    assert isinstance(cause, BootError), cause
    return cause.console
