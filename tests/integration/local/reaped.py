"""A driver whose machine never comes up: it is in the middle of a start for as long as it lives."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence

import trio

import bigmachine as bm
from tests.support.shelf import ShelfSystem, put

session: bm.AsyncSession


class Swept(ShelfSystem):
    uses_reaper = "swept" in sys.argv

    async def start(self, count: int, request: bm.LaunchRequest) -> Sequence[bm.Instance]:
        for kind in ("instance", "volume", "security-group"):
            put(self.options.folder, f"thing.{request.session}", kind)
        process = session._reaper._process
        say(session=request.session, reaper=process and process.pid)
        if "fails" in sys.argv:
            raise bm.StartError("it fails")
        if "forks" in sys.argv and os.fork() == 0:
            say(child=os.getpid())
            time.sleep(1000)
        await trio.sleep_forever()
        raise AssertionError

    async def shutdown(self) -> None:
        if "frees" in sys.argv:
            for thing in await self.instances():
                await self.stop(thing)


class Nothing:
    pass


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    """Drive, with things in the folder that is the first argument."""
    trio.run(_drive)


async def _drive() -> None:
    global session
    async with bm.AsyncSession(Swept, folder=sys.argv[1]) as session:
        try:
            await session.start(1, services={"Nothing": Nothing()})
        except bm.StartError as error:
            say(error=str(error))
