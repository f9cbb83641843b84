"""Ask installed systems from a subcommand: which ones, each with its options, in trio."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import trio

from ..errors import BigmachineError, NotSupportedError, UsageError
from ..system import Capability, System
from ..system._entrypoints import choose_system, installed_systems, load_observers, load_system
from ..system._plugins import Plugins

T = TypeVar("T")

_CLOSE_TIMEOUT = 10.0


def systems_to_ask(
    named: Sequence[str], options: Mapping[str, str], profile: str | None
) -> tuple[list[str], list[str]]:
    """Return the systems to ask, by default all that can list resources; and what is broken.

    Raises `UsageError` for options that are not for exactly one system, or that it refuses.
    """
    if options:
        if len(named) != 1:
            raise UsageError("-o is an option of one system: name it")
        choose_system(named[0], profile=profile, texts=options)
    if named:
        return [*dict.fromkeys(named)], []
    able, broken = [], []
    for name in dict.fromkeys(entry.name for entry in installed_systems()):
        try:
            if Capability.INSTANCES in load_system(name).capabilities:
                able.append(name)
        except BigmachineError as exc:
            broken.append(str(exc))
    return able, broken


@contextlib.asynccontextmanager
async def opened(
    name: str, *, options: Mapping[str, str], profile: str | None
) -> AsyncIterator[System]:
    """Make a system that can list and free resources; yield its hooks. It is not set up."""
    system = choose_system(name, profile=profile, texts=options)
    if Capability.INSTANCES not in system.capabilities:
        raise NotSupportedError(
            f"system {name!r} can't list what it has made (it has no capability 'instances'); "
            f"`bigmachine ps {name}` shows its sessions that run on this computer"
        )
    hooks = Plugins(system, installed=load_observers()).hooks
    try:
        yield hooks
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await hooks.shutdown()


def run_async(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` in trio; a Ctrl-C is a plain `KeyboardInterrupt`, in whatever task it came."""
    try:
        return trio.run(main)
    except* KeyboardInterrupt:
        pass
    raise KeyboardInterrupt
