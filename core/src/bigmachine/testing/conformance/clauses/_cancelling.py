"""Section CANCEL: a hook that is cancelled ends promptly, and can be called again."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable

from bigmachine.system import Capability

from .._clauses import must
from .._kit import Kit
from .._loop import after_steps, cancelled
from .._processes import HostProcess
from .._shared import SERVICES
from .._wrappers import Unstopped

_LINES = 3
_STEPS = (0, 1, 3, 10)  # of the loop, after which a hook is cancelled


class Cancelling:
    """Section CANCEL of the contract; a cancelled `start` is START-7."""

    @must("CANCEL-1")
    async def test_setup_can_be_repeated_after_cancellation(self, kit: Kit) -> None:
        for steps in _STEPS:
            async with kit.unopened() as hooks:
                if await _cancelled(kit, hooks.setup, steps):
                    async with kit.promptly("setup after one that was cancelled"):
                        await hooks.setup()

    @must("CANCEL-2")
    async def test_stop_can_be_repeated_after_cancellation(self, kit: Kit) -> None:
        unstopped = Unstopped()
        async with kit.session(unstopped) as session, unstopped:
            stop = session._plugins.hooks.stop
            await session.start(1, services=SERVICES)  # so that helpers exist
            for steps in _STEPS:
                before = kit.traces()
                [machine, *others] = await session.start(1, services=SERVICES)
                process = await kit.process_of(machine)
                is_cancelled = await _cancelled(
                    kit, functools.partial(stop, instance=machine.instance), steps
                )
                if is_cancelled:
                    await stop(instance=machine.instance)
                # Whether `stop` waits for the end is STOP-2.
                await kit.is_silent(session, machine.instance)
                if process is not None:
                    await kit.eventually(f"{process} is gone", functools.partial(_is_gone, process))
                for other in others:
                    await stop(instance=other.instance)
                await kit.settled(before)

    @must("CANCEL-3")
    async def test_shutdown_can_be_repeated_after_cancellation(self, kit: Kit) -> None:
        for steps in _STEPS[1:]:  # the first one never begins
            unstopped = Unstopped()
            async with kit.session(unstopped) as session, unstopped:
                helped = await session.start(1, services=SERVICES)  # so that helpers exist
                before = kit.traces()
                machines = [*helped, *await session.start(1, services=SERVICES)]
                made = kit.traces() - before
                shutdown = session._plugins.hooks.shutdown
                if await _cancelled(kit, shutdown, steps):
                    async with kit.promptly("shutdown after one that was cancelled"):
                        await shutdown()
                for machine in machines:
                    await kit.is_silent(session, machine.instance)
                await kit.settled(kit.traces() - made)

    @must("CANCEL-4")
    async def test_keepalive_failed_can_be_cancelled(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        hooks = (await kit.shared_session())._plugins.hooks
        ask = functools.partial(hooks.keepalive_failed, instance=machine.instance)
        was_gone = await ask() is not None  # if so, another clause is broken
        for steps in _STEPS:
            await _cancelled(kit, ask, steps)
            async with kit.promptly("`keepalive_failed`, after one that was cancelled"):
                gone = await ask()
            assert gone is None or was_gone, f"after a cancelled call it returns: {gone}"
        assert await machine.call("Probe.echo", 1) == 1

    @must("CANCEL-5", needs=Capability.TAIL)
    async def test_tail_can_be_cancelled(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        hooks = (await kit.shared_session())._plugins.hooks
        await _cancelled(kit, lambda: _exhaust(hooks.tail(instance=machine.instance)), 10)
        lines = (await kit.shared_log()).of(machine)
        before = len(lines)
        await machine.call("Probe.print_lines", 0, _LINES)
        await kit.eventually(
            "the other follower gets all lines, after one that was cancelled",
            lambda: len(lines) >= before + _LINES,
        )

    @must("CANCEL-6", needs=Capability.READ)
    async def test_read_can_be_cancelled(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        hooks = (await kit.shared_session())._plugins.hooks
        data = bytes(1 << 20)
        path = await machine.call("Probe.write_file", data)
        try:
            for steps in _STEPS:
                await _cancelled(
                    kit, lambda: _exhaust(hooks.read(instance=machine.instance, path=path)), steps
                )
                async with kit.promptly("`read`, after one that was cancelled"):
                    is_same = await machine.read(path) == data  # not within the assert: see READ-1
                    assert is_same, "`read` returns other bytes"
        finally:
            await machine.call("Probe.remove_file", path)

    @must("CANCEL-7", needs=Capability.CONSOLE)
    async def test_console_can_be_cancelled(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        hooks = (await kit.shared_session())._plugins.hooks
        for steps in _STEPS:
            await _cancelled(kit, lambda: hooks.console(instance=machine.instance), steps)
            async with kit.promptly("`console`, after one that was cancelled"):
                text = await hooks.console(instance=machine.instance)
            assert isinstance(text, str), f"console returns {text!r}, not text"

    @must("CANCEL-8", needs=Capability.INSTANCES)
    async def test_instances_can_be_cancelled(self, kit: Kit) -> None:
        names = {machine.instance.name for machine in await kit.machines()}
        hooks = (await kit.shared_session())._plugins.hooks
        was_listed = names <= {i.name for i in await hooks.instances()}  # else another clause fails
        for steps in _STEPS:
            await _cancelled(kit, hooks.instances, steps)
            async with kit.promptly("`instances`, after one that was cancelled"):
                listed = {instance.name for instance in await hooks.instances()}
            assert names <= listed or not was_listed, "after a cancelled call it lists less"


async def _cancelled(kit: Kit, hook: Callable[[], Awaitable[object]], steps: int) -> bool:
    """Call a hook and cancel it after some steps of the loop; False if it returned before."""
    with kit.limiting("a hook that was cancelled"):
        return await cancelled(hook, after_steps(steps))


def _is_gone(process: HostProcess) -> bool:
    return not process.is_alive


async def _exhaust(items: AsyncIterator[bytes]) -> None:
    async for _ in items:
        pass
