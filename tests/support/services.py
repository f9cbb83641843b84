"""Services that tests of many rooms run on their machines; light, as machines import them."""

from __future__ import annotations

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
