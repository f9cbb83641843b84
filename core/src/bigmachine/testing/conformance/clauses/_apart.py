"""Clauses about machines beside each other: one that hangs, and some with similar names."""

from __future__ import annotations

import functools
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import trio

from bigmachine.machine._async import AsyncMachine
from bigmachine.session._async import AsyncSession
from bigmachine.system import Capability, Instance, System
from bigmachine.system._request import machine_names

from .._clauses import must
from .._kit import Kit
from .._loop import Stopwatch
from .._shared import SERVICES

_MAX_BLOCKED_SECONDS = 1.0  # how long a hook may block the loop
_HEAD_START = 0.2  # for the hooks of the machine that hangs to be in the middle of their work
_NAMES = ("m1", "m11", "xm1", "m1x", "m")  # the first one is a part of most others


class Apart:
    """Clauses about machines beside each other."""

    @must("STOP-5")
    async def test_machine_that_hangs_delays_no_other_machine(self, kit: Kit) -> None:
        async with kit.session() as session:
            hung, healthy, stopped = [await _one(session) for _ in range(3)]
            process = await kit.process_of(hung)
            if process is None:
                pytest.skip("its machines are not processes of this computer")
            hooks = session._plugins.hooks
            path = await healthy.call("Probe.write_file", b"content")
            process.freeze()
            await kit.eventually(f"{process} is stopped", lambda: process.is_frozen)
            with Stopwatch() as stopwatch:
                async with trio.open_nursery() as nursery:
                    for _, ask in _questions(hooks, kit, hung, path):
                        nursery.start_soon(_quietly, ask)
                    await trio.sleep(_HEAD_START)
                    for what, ask in _questions(hooks, kit, healthy, path):
                        async with kit.promptly(f"{what} of a machine, while another one hangs"):
                            await ask()
                    nursery.start_soon(
                        _quietly, functools.partial(hooks.stop, instance=hung.instance)
                    )
                    async with kit.promptly("`stop` of a machine, while another one hangs"):
                        await hooks.stop(instance=stopped.instance)
                    async with kit.promptly(
                        "a start, while a machine hangs", kit.boot_timeout + kit.timeout
                    ):
                        await _one(session)
                    async with kit.promptly("an answer, while another machine hangs"):
                        assert await healthy.call("Probe.echo", 1) == 1
                    nursery.cancel_scope.cancel()
        assert stopwatch.longest <= _MAX_BLOCKED_SECONDS, (
            f"a hook blocked trio's loop for {stopwatch.longest:.1f} s while a machine hung (at "
            f"most {_MAX_BLOCKED_SECONDS:g} s are allowed): use await"
        )

    @must("STOP-6")
    async def test_hooks_know_a_machine_by_its_whole_name(self, kit: Kit) -> None:
        label = f"conformance-{secrets.token_hex(4)}"
        names = (f"{label}.bigmachine", f"{label}.bigmachines")
        async with kit.session(name=names[0]) as session, kit.session(name=names[1]) as longer:
            machines = await _named(session, *_NAMES)
            theirs = await _named(longer, _NAMES[0])
            hooks = session._plugins.hooks
            for name in ("m1", "m1.", label, names[0], ""):
                async with kit.promptly("`stop` of an instance that does not exist"):
                    await hooks.stop(instance=Instance(name=name, address=""))
            await kit.check_alive([*machines, *theirs], "`stop` of instances that do not exist")
            [victim, *others] = machines
            async with kit.promptly("`stop`"):
                await hooks.stop(instance=victim.instance)
            await kit.check_alive([*others, *theirs], f"`stop` of {victim.instance.name}")
            for other in others:
                gone = await hooks.keepalive_failed(instance=other.instance)
                assert gone is None, f"{other.name} runs, but keepalive_failed returns: {gone}"
            if Capability.INSTANCES in kit.capabilities:
                await kit.eventually(
                    f"{victim.instance.name} is no longer listed, and the others are",
                    functools.partial(_are_listed, hooks, others, not_=victim),
                )
            await hooks.shutdown()
            await kit.check_alive(theirs, f"the end of session {session.name}")


def _questions(
    hooks: System, kit: Kit, machine: AsyncMachine, path: str
) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """Yield the hooks that ask something of a machine, and their names."""
    instance = machine.instance
    yield "`keepalive_failed`", lambda: hooks.keepalive_failed(instance=instance)
    if Capability.CONSOLE in kit.capabilities:
        yield "`console`", lambda: hooks.console(instance=instance)
    if Capability.INSTANCES in kit.capabilities:
        yield "`instances`", hooks.instances
    if Capability.READ in kit.capabilities:
        yield "`read`", lambda: _exhaust(hooks.read(instance=instance, path=path))


async def _exhaust(items: AsyncIterator[bytes]) -> None:
    async for _ in items:
        pass


async def _quietly(ask: Callable[[], Awaitable[object]]) -> None:
    try:
        await ask()
    except Exception:
        return  # what is asked of a machine that hangs may fail


async def _one(session: AsyncSession) -> AsyncMachine:
    return (await session.start(1, services=SERVICES))[0]


async def _named(session: AsyncSession, *names: str) -> list[AsyncMachine]:
    """Start machines with these short names, in this order."""
    assert session._starter is not None
    session._starter.names = itertools.chain(names, machine_names("spare"))
    return [await _one(session) for _ in names]


async def _are_listed(hooks: System, machines: list[AsyncMachine], *, not_: AsyncMachine) -> bool:
    names = {instance.name for instance in await hooks.instances()}
    return {m.instance.name for m in machines} <= names and not_.instance.name not in names
