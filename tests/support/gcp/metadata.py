"""The metadata server of an instance, on loopback: that of the cloud in a box, without a host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.support.cloudbox import Gce, Request, Response
from tests.support.cloudbox._cloud import serving


@dataclass
class Card:
    """What the metadata server knows of an instance's network."""

    address: str = "10.128.0.7"
    mac: str = "42:01:0a:80:00:07"


class WatchedGce(Gce):
    """An instance whose waiting requests are woken by changes, and don't look at intervals.

    So a clock that jumps is not held up by them. It is changed by its own event loop only.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        self.__dict__.setdefault("_changed", trio.Event()).set()
        self.__dict__["_changed"] = trio.Event()

    async def _may_have_changed(self) -> None:
        await self.__dict__["_changed"].wait()


@dataclass
class MetadataServer:
    """The metadata of ``cloud``, which a test may change at any time."""

    cloud: Gce = field(default_factory=WatchedGce)
    url: str = ""
    status: int | None = None  # of each answer, if it is to be broken
    unavailable: int = 0  # how many more answers are 503, as while the instance is moved
    is_silent: bool = False
    requests: list[Request] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[MetadataServer]:
        """Serve on a port of loopback while the block runs."""
        async with serving(self._answer) as self.url:
            yield self

    async def _answer(self, request: Request, sender: str) -> Response:
        self.requests.append(request)
        if self.is_silent:
            await trio.sleep_forever()
        if self.status is not None:
            return Response(self.status)
        if self.unavailable:
            self.unavailable -= 1
            return Response(503)
        card: Any = Card()
        return await self.cloud.answer(request, card)
