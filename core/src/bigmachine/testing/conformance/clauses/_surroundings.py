"""Clauses about what a backend changes or shows: in the driver's process, and to other users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .._clauses import must
from .._exposure import LogText, WrittenFiles, shown_of
from .._kit import Kit
from .._processes import marked
from .._shared import SERVICES
from .._surroundings import changes, surroundings
from .._wrappers import KeyRecorder, LogRecorder


class Surrounded:
    """Clauses about the driver's process, the machines' and what others can read."""

    @must("START-15")
    async def test_hooks_leave_the_process_of_the_driver_as_it_is(self, kit: Kit) -> None:
        before = surroundings()
        async with kit.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            await machine.call("Probe.echo", 1)
            meanwhile = changes(before, surroundings())
        assert not meanwhile, f"changed while a machine runs: {', '.join(meanwhile)}"
        changed = changes(before, surroundings())
        assert not changed, f"changed after a session: {', '.join(changed)}"

    @must("START-10")
    async def test_private_key_is_nowhere_that_others_can_read(self, kit: Kit) -> None:
        keys, output = KeyRecorder(), LogRecorder()
        shown: list[tuple[str, bytes]] = []
        usual = os.umask(0o022)  # with which files are for everybody, unless they are made private
        try:
            with WrittenFiles() as files, LogText() as log:
                async with kit.session(keys, output) as session:
                    [machine, *_] = await session.start(1, services=SERVICES)
                    for process in marked(kit.mark):
                        shown += shown_of(process)
                    shown += files.exposed(kit.folder)
                    shown.append(("its Instance", repr(machine.instance).encode()))
                    shown.append(("its output", b"\n".join(output.of(machine))))
                shown.append(("the log", log.text.encode()))
        finally:
            os.umask(usual)
        for where, text in shown:
            assert not keys.is_in(text), f"a private key is in {where}, where others can read it"

    @must("MACHINE-6")
    async def test_processes_inherit_none_of_the_open_files_of_the_driver(self, kit: Kit) -> None:
        if not Path("/proc/self/fd").exists():
            pytest.skip("this computer does not show the open files of a process")
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        try:
            theirs = os.readlink(f"/proc/self/fd/{writing}")
            async with kit.session() as session:
                await session.start(1, services=SERVICES)
                processes = marked(kit.mark)
                if not processes:
                    pytest.skip("it starts no processes on this computer")
                for process in processes:
                    assert theirs not in process.descriptors, (
                        f"{process} has inherited an open file of the driver"
                    )
        finally:
            os.close(reading)
            os.close(writing)
