"""The metadata service of a VM, on loopback: that of the cloud in a box, without a host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import trio

from tests.support.cloudbox import Cloud, Request, Response
from tests.support.cloudbox._cloud import serving


@dataclass
class Card:
    """What the metadata service knows of a VM's network."""

    address: str = "10.128.0.7"
    mac: str = "42:01:0a:80:00:07"


@dataclass
class MetadataServer:
    """The metadata of ``cloud``, which a test may change at any time."""

    cloud: Cloud
    url: str = ""
    status: int | None = None  # of each answer, if it is to be broken
    unavailable: int = 0  # how many more answers are `unavailable_status`, as during an update
    unavailable_status: int = 503
    is_silent: bool = False
    requests: list[Request] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
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
            return Response(self.unavailable_status)
        card: Any = Card()
        return await self.cloud.answer(request, card)
