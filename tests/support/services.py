"""Services that tests of many rooms run on their machines; light, as machines import them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import trio


class Echo:
    """Returns what it is given; or answers late, or never."""

    async def echo(self, value: object) -> object:
        return value

    async def late(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "here"

    async def forever(self) -> None:
        await trio.sleep_forever()


class Keeper:
    """Keeps memory."""

    def keep(self, size: int) -> None:
        self.kept = bytes(size)


class Flaky(Echo):
    """Loses the connection of its first calls. In this process; a test says how it is lost."""

    lose_connection: ClassVar[Callable[[], object]]

    def __init__(self) -> None:
        self.calls = 0

    async def count(self) -> int:
        return self.calls

    async def flaky(self, failures: int, result: object = None) -> object:
        """Return ``result`` at last, or else the number of calls."""
        self.calls += 1
        if self.calls <= failures:
            self.lose_connection()
            await trio.sleep_forever()
        return self.calls if result is None else result
