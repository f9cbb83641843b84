"""Local machines after their driver, or the zygote, was killed."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import AbstractContextManager

import pytest
import trio
import trio.testing

from bigmachine.errors import StartError, StopReason
from tests.integration.local import local_machines as lm
from tests.support.drivers import DriverProcess, driver
from tests.support.processes import is_running

pytestmark = pytest.mark.timeout(60)

HOG = "print('up'); pow(3, 10**10)"  # one call, which never releases the GIL

DRIVER = """
import os, sys, signal, trio
sys.path.insert(0, {folder!r})
import local_machines as lm

async def main():
    async with lm.opened(fork={fork}) as system:
        instances = await system.start({count}, lm.ScriptRequest(system, {script!r}))
        for instance in instances:
            await lm.first_line(system, instance)
        print(*(instance.id for instance in instances), flush=True)
        {then}
        await trio.sleep_forever()

trio.run(main)
"""

FORK = """
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            while True: signal.pause()
"""


def driver_of(
    *, fork: bool, script: str, count: int = 2, then: str = ""
) -> AbstractContextManager[DriverProcess]:
    """Run a driver, which prints the pids of its machines."""
    code = DRIVER.format(
        folder=os.path.dirname(lm.__file__), fork=fork, script=script, count=count, then=then
    )
    return driver("-c", code)


def wait_ended(pids: list[int]) -> None:
    async def main() -> None:
        for pid in pids:
            await lm.ended(pid)

    trio.run(main)


@pytest.mark.parametrize(
    ("fork", "script"),
    [(True, "print('up')\n" + lm.SLEEP), (True, HOG), (False, "print('up')\n" + lm.SLEEP)],
    ids=["forked", "forked and holding its interpreter", "spawned"],
)
def test_machines_end_with_a_killed_driver(fork: bool, script: str) -> None:
    with driver_of(fork=fork, script=script) as process:
        machines = process.read_pids()
        assert all(map(is_running, machines))
        process.send_signal(signal.SIGKILL)
        wait_ended(machines)


@pytest.mark.parametrize("fork", [True, pytest.param(False, marks=pytest.mark.long)])
def test_child_forked_by_driver_does_not_keep_machines_alive(fork: bool) -> None:
    with driver_of(fork=fork, script="print('up')\n" + lm.SLEEP, then=FORK.strip()) as process:
        machines = process.read_pids()
        (child,) = process.read_pids()
        process.send_signal(signal.SIGKILL)
        wait_ended(machines)
        assert is_running(child)
        os.kill(child, signal.SIGKILL)


def test_machines_end_with_driver_after_zygote_was_killed() -> None:
    with driver_of(fork=True, script="print('up')\n" + lm.SLEEP) as process:
        machines = process.read_pids()
        (zygote,) = lm.children_of(process.pid)
        os.kill(zygote, signal.SIGKILL)
        wait_ended([zygote])
        assert all(map(is_running, machines))
        process.send_signal(signal.SIGKILL)
        wait_ended(machines)


def test_killed_zygote_kills_no_machine_and_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with lm.opened(fork=True) as system:
            old = await lm.start_one(system, lm.SLEEP, "old")
            doomed = await lm.start_one(system, lm.SLEEP, "doomed")
            (zygote,) = lm.children()
            os.kill(zygote, signal.SIGKILL)
            await lm.ended(zygote)
            assert await system.keepalive_failed(old) is None

            with caplog.at_level(logging.WARNING, "bigmachine.local"):
                new = await lm.start_one(system, "raise SystemExit(3)", "new")
            assert "ended with status -9; starting another" in caplog.text
            await lm.ended(int(new.id))
            gone = await system.keepalive_failed(new)
            assert gone is not None
            assert gone.detail == "exited with status 3"

            os.kill(int(doomed.id), signal.SIGKILL)
            await lm.ended(int(doomed.id))
            gone = await system.keepalive_failed(doomed)
            assert gone is not None
            assert gone.reason is StopReason.EXITED
            await system.stop(doomed)
            await system.stop(old)
            assert not is_running(int(old.id))
        assert lm.children() == set()

    trio.run(main)


def test_zygote_killed_during_start_fails_it_and_leaves_nothing() -> None:
    async def main() -> None:
        async with lm.opened(fork=True) as system:
            (zygote,) = lm.children()
            os.kill(zygote, signal.SIGSTOP)
            descriptors = lm.descriptors()
            async with trio.open_nursery() as nursery:

                async def start() -> None:
                    with pytest.raises(StartError, match="died or hangs"):
                        await system.start(2, lm.ScriptRequest(system, lm.SLEEP))

                nursery.start_soon(start)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(zygote, signal.SIGKILL)
            assert len(lm.descriptors()) <= len(descriptors) + 1  # the kernel's log
            assert await lm.start_one(system, lm.SLEEP, "again")

    trio.run(main)


def test_zygote_with_an_import_error_fails_the_start(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Broken(lm.ScriptSystem):
        entry = "no_such_module:main"

    async def main() -> None:
        system = Broken()
        await system.setup()
        with pytest.raises(StartError, match="standard error"):
            await system.start(1, lm.ScriptRequest(lm.ScriptSystem(), lm.SLEEP))
        await system.shutdown()

    trio.run(main)
    assert "no_such_module" in capfd.readouterr().err
    assert lm.children() == set()
