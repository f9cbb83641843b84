"""Sections TAIL, READ, CONSOLE and INSTANCES: what a backend can declare to be able to do."""

from __future__ import annotations

import datetime
import functools
import itertools
import os

import pytest

from bigmachine.boot import Driver
from bigmachine.errors import BootError, StartError
from bigmachine.system import Capability

from .._census import check_exactly
from .._clauses import must, should
from .._kit import Kit
from .._probe import BOOT_FAILS
from .._shared import SERVICES
from .._wrappers import BootBreaker, ConsoleRecorder, LogRecorder

_LINES = 1000
_LONG_LINE_BYTES = 3 << 20
_ALL_BYTES = bytes(range(256)).replace(b"\n", b"")
_UNTIDY = (
    b"\xff\xfe\0\r no text",
    b"\rten %\rtwenty %\r",
    b"a\r",
    b"\n",
    b" \t ",
    b"\x1b[31mred\x1b[0m",
    _ALL_BYTES,
    b"x" * _LONG_LINE_BYTES,
    b"last\n\nof all",
)
"""What machines print, without its last newline."""
_FILE_NAME = "bigmachine conformance 'a\" $b;*\\ä"


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
                found = [line for line in lines if line.startswith(b"line ")]
                is_same = found == wanted  # see READ-1
                assert is_same, _first_difference(found, wanted)
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
            last = log.of(machine)[-1:]
            assert last == [b"line 9"], f"the last line is {last}, not the last one printed"

    @must("TAIL-4", needs=Capability.TAIL)
    async def test_tail_accepts_any_output(self, kit: Kit) -> None:
        log = LogRecorder()
        async with kit.session(log) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            for raw in _UNTIDY:
                async with kit.promptly(f"printing {raw[:20]!r}"):
                    await machine.call("Probe.print_raw", raw + b"\n")
            await machine.call("Probe.print_lines", 7, 1)
            lines = log.of(machine)
            await kit.eventually("a line after all that", lambda: b"line 7" in lines)
            for raw in _UNTIDY:
                # Only a line of megabytes may arrive in parts.
                if len(raw) < _LONG_LINE_BYTES:
                    for line in raw.split(b"\n"):
                        assert line in lines, (
                            f"{line[:60]!r} was printed, and did not arrive as it is"
                        )
            received, printed = b"".join(lines), b"".join(_UNTIDY).replace(b"\n", b"")
            assert printed in received, (
                f"{len(printed)} untidy bytes were printed; not all of them arrived, in order"
            )

    @should("TAIL-6", needs=Capability.TAIL)
    async def test_tail_returns_a_last_line_without_newline(self, kit: Kit) -> None:
        log = LogRecorder()
        async with kit.session(log) as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.call("Probe.print_raw", b"no newline")
            await machine.shutdown()
            assert log.of(machine)[-1:] == [b"no newline"], (
                f"the last lines: {log.of(machine)[-3:]}"
            )

    @must("TAIL-5", needs=Capability.TAIL)
    async def test_tail_shows_why_a_boot_failed(self, kit: Kit) -> None:
        log = LogRecorder()
        error = await _failed_boot(kit, log)
        lines = b"\n".join(line for lines in log.lines.values() for line in lines)
        assert BOOT_FAILS.encode() in lines, "`tail` does not yield why the boot failed"
        assert BOOT_FAILS in error.console, f"the BootError does not say why: {error}"

    @must("READ-1", needs=Capability.READ)
    async def test_read_returns_the_bytes_of_a_file(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        for data in (b"", _ALL_BYTES + b"\r\n\n", os.urandom(3_000_000)):
            path = await machine.call("Probe.write_file", data, name=_FILE_NAME)
            try:
                found = await machine.read(path)
                # Not within the assert: on CI, pytest compares what is unequal item by item, and
                # that takes as long as a hook that blocks the loop.
                is_same = found == data
                assert is_same, f"`read` returns {len(found)} bytes, not the file's {len(data)}"
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
        recorder = ConsoleRecorder()
        error = await _failed_boot(kit, recorder)
        assert any(BOOT_FAILS in text for text in recorder.texts), (
            "`console` does not return why the boot failed: "
            + (f"it returns {recorder.texts[-1][-200:]!r}" if recorder.texts else "nothing")
        )
        assert BOOT_FAILS in error.console, f"the BootError does not say why: {error}"

    @must("CONSOLE-2", needs=Capability.CONSOLE)
    async def test_console_of_a_running_machine_is_text(self, kit: Kit) -> None:
        session = await kit.shared_session()
        for machine in await kit.machines():
            async with kit.promptly("console"):
                text = await session._plugins.hooks.console(instance=machine.instance)
            assert isinstance(text, str), f"console returns {text!r}, not text"

    @must("INSTANCES-1", needs=Capability.INSTANCES)
    async def test_instances_lists_running_machines(self, kit: Kit) -> None:
        session = await kit.shared_session()
        listed = {i.name: i for i in await session._plugins.hooks.instances()}
        for machine in await kit.machines():
            assert machine.instance.name in listed, f"{machine.instance.name} is not listed"
            found, wanted = listed[machine.instance.name].id, machine.instance.id
            assert found == wanted, (
                f"{machine.name} is listed with the id {found!r}, not {wanted!r}"
            )

    @must("INSTANCES-2", needs=Capability.INSTANCES)
    async def test_instances_lists_machines_of_other_sessions(self, kit: Kit) -> None:
        machines = await kit.machines()
        async with kit.unopened() as hooks:
            names = {instance.name for instance in await hooks.instances()}
        missing = {machine.instance.name for machine in machines} - names
        assert not missing, f"another system object does not list {', '.join(sorted(missing))}"

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
            name = machines[0].instance.name
            listed = [i for i in await visitor.instances() if i.name == name]
            assert len(listed) == 1, f"{name} is listed {len(listed)} times, not once"
            [found] = listed
            async with kit.promptly("stop of another session's instance"):
                await visitor.stop(instance=found)
            await kit.is_silent(session, machines[0].instance)
            if process is not None:
                await kit.eventually(f"{process} is gone", lambda: not process.is_alive)
            await kit.check_alive(machines[1:], f"`stop` of {name}")

    @must("INSTANCES-7", needs=Capability.INSTANCES)
    async def test_instances_lists_exactly_the_machines_that_exist(self, kit: Kit) -> None:
        async with kit.session() as session:
            machines = await session.start(2, services=SERVICES)
            await check_exactly(kit, session, machines)
            # Helpers, and what services start, are no machines; one that hangs still is one.
            if (process := await kit.process_of(machines[0])) is not None:
                await machines[0].call("Probe.start_child")
                process.freeze()
            # Nor does it matter whether a machine runs already.
            machines += await session.start(1, services=SERVICES, wait=False)
            await check_exactly(kit, session, machines)

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
            assert details.get("session") == session.name, f"session: {details.get('session')!r}"
            assert details.get("driver") == str(here), "must be str(request.driver)"
            assert details.get("host") == here.host, f"host: {details.get('host')!r}"
            began = datetime.datetime.fromisoformat(details.get("started", ""))
            assert began.utcoffset() == datetime.timedelta(0), "must be in UTC"


def _first_difference(found: list[bytes], wanted: list[bytes]) -> str:
    """Say where the lines that arrived differ from those that were printed."""
    for here, there in itertools.zip_longest(found, wanted):
        if here != there:
            return f"{there!r} was printed, and {here!r} arrived in its place"
    return ""


def _has_last(lines: list[bytes]) -> bool:
    return f"line {_LINES - 1}".encode() in lines


async def _failed_boot(kit: Kit, recorder: object) -> BootError:
    """Return the error of a failed boot, which ``recorder`` has seen."""
    system = kit.system()
    system.boot_timeout = kit.timeout  # the class's own may be minutes
    async with kit.session(BootBreaker(), recorder, system=system) as session:
        with pytest.raises(StartError) as failed:
            await session.start(1, services=SERVICES)
    cause = failed.value.__cause__
    assert isinstance(cause, BootError), f"the cause of the StartError is no BootError: {cause!r}"
    return cause
