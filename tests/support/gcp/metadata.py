"""The metadata server of an instance, on loopback."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from tests.support import metadata_server
from tests.support.cloudbox import Gce


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
class MetadataServer(metadata_server.MetadataServer):
    """The metadata of an instance."""

    cloud: Gce = field(default_factory=WatchedGce)
