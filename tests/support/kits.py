"""Async tests with a kit: a cloud's system, and what a session asks of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import trio

from bigmachine import System
from bigmachine._identity import Authority
from bigmachine.boot import LaunchRequest, machine_names
from bigmachine.boot._config import Configurator
from bigmachine.system import Instance, Keepalive
from bigmachine.system._options import resolve_options


class CloudKit:
    """A system on an emulated ``cloud``, and what a session asks of it.

    The constructor of a cloud's own subclass takes the cloud, and options as keywords.
    """

    def __init__(self, system: type[System], cloud: Any, options: Mapping[str, Any]) -> None:
        self.cloud = cloud
        self.options = resolve_options(system.Options, system_name=system.name, keywords=options)
        self.system: Any = system(self.options)  # Any: each cloud's own class
        self.request = LaunchRequest(
            authority=Authority("test-0123abcd.bigmachine"),
            names=machine_names(),
            keepalive=Keepalive(),
            argv=(),
            environ={},
            configure=Configurator(system=self.system, maxprocs=None),
        )

    async def setup(self) -> Any:
        await self.system.setup()
        return self.system

    async def start(self, count: int = 1) -> list[Instance]:
        await self.system.setup()
        return [*await self.system.start(count, self.request)]

    def other(self) -> Any:
        """Return that of another driver, with another session."""
        make: Callable[[Any], Any] = type(self)
        kit = make(self.cloud)
        kit.system = type(self.system)(self.options)
        kit.request._authority = Authority("other-89abcdef.bigmachine")
        return kit


K = TypeVar("K", bound=CloudKit)


def run_with(make: Callable[[], K], test: Callable[[K], Awaitable[Any]]) -> Any:
    """Run a test in trio, with a kit that is made there, and shut its system down."""

    async def main() -> Any:
        kit = make()
        try:
            with trio.fail_after(60):
                return await test(kit)
        finally:
            with trio.move_on_after(30, shield=True):
                await kit.system.shutdown()

    return trio.run(main)
