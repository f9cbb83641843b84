"""Async tests with a kit: a system, and what a session asks of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import trio

from bigmachine import System


class SystemKit(Protocol):
    """What has a ``system``."""

    system: System


K = TypeVar("K", bound=SystemKit)


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
